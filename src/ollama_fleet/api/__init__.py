"""Talking to an Ollama server: a typed client, through whatever connection the host has."""
