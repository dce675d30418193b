"""A host on which no command works, and no other that could go on in its place."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from unit.cli.command import COMMAND

ROOT = Path(__file__).resolve().parents[3]
FLEET = """\
version: 1
release: {version: 0.24.0}
hosts:
  here: {address: "@local"}
"""
SHELL = """\
#!/bin/bash
echo "out of order" >&2
exit 3
"""


@pytest.mark.parametrize("options", [(), ("--dry",)], ids=["apply", "dry"])
def test_the_only_host_cannot_be_read(tmp_path: Path, options: tuple[str, ...]) -> None:
    shell = tmp_path / "bin" / "sh"
    shell.parent.mkdir()
    shell.write_text(SHELL)
    shell.chmod(0o755)
    (tmp_path / "inventory").mkdir()
    for name in ("deploy.py", "inventory/hosts.py"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    (tmp_path / "fleet.yaml").write_text(FLEET)
    (tmp_path / "fleet.lock").write_text("version: 1\n")
    done = subprocess.run(
        [str(COMMAND.with_name("pyinfra")), "-y", *options, "inventory/hosts.py", "deploy.py"],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{shell.parent}:{os.environ['PATH']}", "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1, done.stdout
    assert "out of order" in done.stdout
    assert "should not happen" not in done.stdout
    assert "Traceback" not in done.stdout
