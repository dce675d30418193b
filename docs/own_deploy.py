"""Two of the operations in a deploy of one's own: pyinfra inventory.py own_deploy.py."""

from ollama_fleet.operations import firewall, ollama

# pyinfra's own `name` is the title of a step, so the model comes without a keyword.
ollama.model("nomic-embed-text", name="Model for embeddings")
ollama.model("llama2:7b", present=False, name="No old model")
firewall.allow(name="Ollama's port", port=11434, sources=["192.168.1.0/24", "fd00:1::/64"])
