"""How one thing is changed: pyinfra operations, usable one by one in anybody's deploy.

    from ollama_fleet.operations import firewall, ollama

Each compares what is wanted with the probe, and yields commands only for a difference.
"""
