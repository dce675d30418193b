"""What a model and a release are: names, manifests, Modelfiles, digests, the registry and the lock."""
