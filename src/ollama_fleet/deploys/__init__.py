"""In which order a host converges: `deploy.py` and `inventory/hosts.py` are three lines each.

from ollama_fleet.deploys import converge
"""

from ollama_fleet.deploys.converge import converge
from ollama_fleet.deploys.inventory import inventory

__all__ = ["converge", "inventory"]
