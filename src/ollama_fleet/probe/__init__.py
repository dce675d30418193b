"""What is there now: one read of a host, put together from sections."""
