"""What a host should have: one file per kind of item, each with its comparison."""
