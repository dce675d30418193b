"""Run in a process of its own, as gevent patches all: does what standard input says through pyinfra's API.

Standard input: {"host", "data", "calls": [{"script" | "put" | "get", …}]}; answers one JSON document.
"""

from __future__ import annotations

import pyinfra_cli  # noqa: F401  isort: skip
import io
import json
import sys
from typing import Any

from pyinfra.api.command import MaskString, StringCommand
from pyinfra.api.config import Config
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import State, StateStage
from pyinfra.context import ctx_host, ctx_state


def main() -> None:
    asked = json.loads(sys.stdin.read())
    state = State(Inventory(([(asked["host"], asked["data"])], {})), Config())
    with ctx_state.use(state):
        state.set_stage(StateStage.Connect)
        connect_all(state)
        host = next(iter(state.inventory))
        with ctx_host.use(host):
            answers = [answer(host, call) for call in asked["calls"]]
        disconnect_all(state)
    print(json.dumps({"name": host.name, "answers": answers}))


def answer(host: Host, call: dict[str, Any]) -> dict[str, Any]:
    try:
        if "put" in call:
            return {"ok": host.put_file(io.BytesIO(call["content"].encode()), call["put"])}
        if "get" in call:
            target = io.BytesIO()
            return {"ok": host.get_file(call["get"], target), "content": target.getvalue().decode()}
        bits = [MaskString(call["secret"])] if "secret" in call else []
        command = StringCommand(call["script"], *bits)
        ok, output = host.run_shell_command(
            command, print_input=True, print_output=True, **call.get("arguments", {})
        )
        return {"ok": ok, "stdout": output.stdout_lines, "stderr": output.stderr_lines}
    except PyinfraError as error:
        return {"refused": str(error)}


if __name__ == "__main__":
    main()
