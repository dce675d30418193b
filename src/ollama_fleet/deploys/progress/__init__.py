"""What is seen of an apply while it runs and when it has ended: screen, log file, summary."""
