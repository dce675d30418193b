"""What this project relies on of an Ollama server, held against the stand-in and, where there is one, a real server.

`OLLAMA_BIN=/path/to/ollama pytest tests/contract` runs every case on that binary too. Cases that only hold for some
generations are marked `to_0_24` or `from_0_30`.
"""
