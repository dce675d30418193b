"""Finding the largest setting that holds: on simulated machines, on lab hosts, on a real server."""
