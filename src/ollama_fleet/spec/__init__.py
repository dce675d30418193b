"""What was asked: ``fleet.yaml`` as validated, merged values, each with the line that gave it."""
