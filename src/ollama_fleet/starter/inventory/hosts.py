from ollama_fleet.deploys import inventory

globals().update(inventory(__file__))
