"""The one place where httpx is imported.

httpcore, below httpx, imports trio wherever it is installed. Under gevent, which pyinfra's command line turns
on, that import fails: trio needs `select.epoll`, which gevent takes away. Nothing here uses trio, so it is
hidden while httpcore is imported for the first time; httpcore then does without.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import cast

__all__ = ["import_httpx"]

_HIDDEN = "trio"


def import_httpx() -> ModuleType:
    """Import httpx without trio and return the module; later calls only return it.

    A trio that the program has imported itself stays as it is.
    """
    if "httpcore" not in sys.modules and _HIDDEN not in sys.modules:
        sys.modules[_HIDDEN] = cast("ModuleType", None)  # what makes `import trio` raise ImportError
        try:
            importlib.import_module("httpcore")
        finally:
            del sys.modules[_HIDDEN]
    return importlib.import_module("httpx")
