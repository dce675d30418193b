"""Real hosts without a cloud: Debian trees booted by systemd in containers, on networks of their own.

`Lab.start()` makes three networks, two client namespaces and a registry; `lab.host(...)` boots a machine on
them. Everything a lab makes carries the lab's slot number in its name, and a keeper process removes all of it
when the lab is stopped or when the process that started it dies, however it dies.

Needs root, network and mount namespaces, overlayfs and a cgroup tree that can be written to.
`Lab.available()` says what is missing. Standard library only, so `python3 -m lab` works with any Python from
3.11.
"""

from .host import Host
from .laboratory import Lab
from .process import LabError
from .registry import Registry
from .snapshot import Entry

__all__ = ["Entry", "Host", "Lab", "LabError", "Registry"]
