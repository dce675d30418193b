from ollama_fleet.deploys import converge

converge()
