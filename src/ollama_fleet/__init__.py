"""Declarative provisioning of Ollama on many machines."""
