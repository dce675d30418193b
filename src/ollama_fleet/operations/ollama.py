"""Everything about Ollama on a host, under one name: `from ollama_fleet.operations import ollama`."""

from ollama_fleet.operations.account import account
from ollama_fleet.operations.directory import directories
from ollama_fleet.operations.host_lock import host_lock
from ollama_fleet.operations.instances import instances
from ollama_fleet.operations.model import load, model, models
from ollama_fleet.operations.prune import prune
from ollama_fleet.operations.record import outcome, record
from ollama_fleet.operations.release import release, stage, use
from ollama_fleet.operations.service import service
from ollama_fleet.operations.text_file import files

__all__ = [
    "account",
    "directories",
    "files",
    "host_lock",
    "instances",
    "load",
    "model",
    "models",
    "outcome",
    "prune",
    "record",
    "release",
    "service",
    "stage",
    "use",
]
