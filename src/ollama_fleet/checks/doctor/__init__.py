"""What would stop an apply, looked at before one is tried: one command per host, and what follows from its answer."""
