"""A stand-in for an Ollama release, so that a fleet can be tested without GPUs and without downloads.

It has the command line, the HTTP API and the on-disk layout of the real program, and plays machines that are not
there. It needs nothing but Python 3.11's standard library and imports nothing from the package under test: what it
says about a host must be a second opinion. `tests/contract` holds it to a real server.
"""

from __future__ import annotations
