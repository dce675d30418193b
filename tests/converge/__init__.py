"""The main job on real hosts: `pyinfra inventory/hosts.py deploy.py`, looked at from outside."""
