"""Hosts that pyinfra cannot reach by itself."""
