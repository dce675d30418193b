"""What a release cannot do of that which is asked, told before anything is touched.

Variables and parameters that a release does not know are mistakes of the file, and told when it is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.spec.hosts import HostSpec

_VERSION = re.compile(r"v?(\d{1,6})(?:\.(\d{1,6}))?(?:\.(\d{1,6}))?")
CREATE_SINCE = {"renderer": (0, 12, 0), "parser": (0, 12, 0), "requires": (0, 14, 0)}
"""Keys of a create request that older releases pass over: the model would silently be another."""


def check_base(spec: HostSpec, model: str, base: str, lock: Lock) -> None:
    """Hold what a locked base says that it requires against the host's release; Ollama itself does not.

    Args:
        spec: of the host.
        model: name of the model that is made of it.
        base: its name in a registry.
        lock: what is known of it.

    Raises:
        PlanError: the base needs a newer release.
    """
    locked = lock.find_model(ModelName.parse(base))
    requires = "" if locked is None else locked.model_details().requires
    needed = _numbers(requires)
    if needed is not None and spec.release.version.numbers < needed:
        raise PlanError(
            f"{_where(spec)}{model}: {base} requires Ollama {requires}, and the release is {spec.release.version}; "
            "ask for a newer release on this host, or for another model"
        )


def check_request(spec: HostSpec, model: str, request: Mapping[str, Any]) -> None:
    """Hold the directives of a Modelfile against the host's release.

    Args:
        spec: of the host.
        model: name of the model.
        request: body of its create request.

    Raises:
        PlanError: the release does not know one of them.
    """
    for key, since in CREATE_SINCE.items():
        if request.get(key) and spec.release.version.numbers < since:
            first = ".".join(map(str, since))
            raise PlanError(
                f"{_where(spec)}{model}: {key.upper()} in its Modelfile came with {first}, and the release is "
                f"{spec.release.version}; ask for a newer release on this host, or leave it out"
            )


def _where(spec: HostSpec) -> str:
    origin = spec.origin.get("release.version")
    return f"{origin}: " if origin else ""


def _numbers(text: str) -> tuple[int, int, int] | None:
    """The numbers of a version; whatever stands behind them (`-rc1`) is passed over."""
    found = _VERSION.match(text)
    if found is None:
        return None
    major, minor, patch = (int(number or 0) for number in found.groups())
    return major, minor, patch
