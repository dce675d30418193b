"""`python -m ollama_sim serve` is the stand-in's `ollama serve`."""

from __future__ import annotations

import sys

from ollama_sim.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
