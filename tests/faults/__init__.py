"""What goes wrong on hosts, networks and disks, and what hostile names and secrets try: `pyinfra` must stay honest."""
