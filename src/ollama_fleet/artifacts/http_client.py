"""The one place where httpx is imported.

httpcore, below httpx, imports trio wherever it is installed. Under gevent, which pyinfra's command line turns
on, that import fails: trio needs `select.epoll`, which gevent takes away. And httpx imports its own command
line with all that it draws tables with, a third of its start-up. Nothing here uses either, so both are hidden
while the modules are imported for the first time; both packages then do without.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import cast

__all__ = ["import_httpx"]


def import_httpx() -> ModuleType:
    """Import httpx without trio and return the module; later calls only return it.

    A trio that the program has imported itself stays as it is.
    """
    if "httpcore" not in sys.modules:
        with _hidden("trio"):
            importlib.import_module("httpcore")
    if "httpx" in sys.modules:
        return sys.modules["httpx"]
    with _hidden("httpx._main"):
        return importlib.import_module("httpx")


@contextmanager
def _hidden(name: str) -> Iterator[None]:
    """Let `import name` raise ImportError, unless the module is there already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = cast("ModuleType", None)
    try:
        yield
    finally:
        del sys.modules[name]
