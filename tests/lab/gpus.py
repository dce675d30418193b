"""GPUs that are not there: an `nvidia-smi` that answers from recordings."""
from __future__ import annotations
from collections.abc import Sequence
from pathlib import Path
def install(root: Path, names: Sequence[str]) -> None:
    raise NotImplementedError
