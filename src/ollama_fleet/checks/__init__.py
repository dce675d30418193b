"""Is it really so: what a host does, held against its plan."""
