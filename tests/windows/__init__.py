"""A Windows host for tests: an SSH server in front of Wine, and a stand-in for what Wine only pretends to do.

What is real: cmd, reg, sc, schtasks /create, files and drives, all of them Wine's. What is a stand-in: PowerShell, its
cmdlets, the firewall, running tasks and processes. The stand-in knows few things and fails loudly on all others.
"""
