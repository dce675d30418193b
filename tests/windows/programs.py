"""Programs that scripts call: Wine's own where they are real, a stand-in for a few, nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windows.values import NotModelledError, text

if TYPE_CHECKING:
    from windows.machine import Machine
    from windows.powershell import Interpreter

REAL = {"reg.exe", "sc.exe", "cmd.exe", "taskkill.exe", "net.exe"}
STUBS = (
    "setx", "netsh", "tasklist", "where", "certutil", "icacls", "fsutil", "systeminfo", "curl", "tar", "timeout", "wsl",
    "schtasks", "powershell", "pwsh", "winget", "msiexec", "wmic",
)  # fmt: skip
"""What Wine answers 0 to without doing it, or lacks: on a command line they fail."""


def run(
    m: Machine, i: Interpreter, name: str, parameters: dict[str, Any], positional: list[Any]
) -> list[Any]:
    """Run a program with its words in order; returns its lines and sets $LASTEXITCODE."""
    words = [text(word) for word in positional]
    if parameters:
        raise NotModelledError(f"options of {name} with a dash must be quoted: {sorted(parameters)}")
    low = name.lower().rpartition("\\")[2]
    if low in REAL:
        m.variables = None
        code, out, _ = m.wine.run(*([low.removesuffix(".exe"), *words]))
    elif low == "ollama.exe":
        code, out = _ollama(m, i, name, words)
    elif low == "nvidia-smi.exe" and m.gpus.exists():
        code, out = _nvidia_smi(m, words)
    elif low == "curl.exe":
        code, out = _curl(m, words)
    elif low == "tar.exe":
        code, out = _tar(m, words)
    elif low == "icacls.exe":
        code, out = _icacls(m, words)
    elif low == "fsutil.exe":
        code, out = _fsutil(m, words)
    else:
        raise NotModelledError(f"the command {name}")
    i.variables["lastexitcode"] = code
    return out.decode(errors="replace").replace("\r\n", "\n").splitlines()


def _ollama(m: Machine, i: Interpreter, name: str, words: list[str]) -> tuple[int, bytes]:
    if words != ["--version"]:
        raise NotModelledError(f"ollama {words}")
    path = m.file(name)
    done = subprocess.run(
        [sys.executable, str(path), *words],
        env=m.processes.unix({**i.environment, "OLLAMA_HOST": "127.0.0.1:1"}),
        capture_output=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def _nvidia_smi(m: Machine, words: list[str]) -> tuple[int, bytes]:
    """`--query-gpu=FIELDS --format=csv,noheader,nounits`, from a file: {"fails": TEXT}, or {"gpus": [{FIELD: …}]}.

    What models take is told by the stand-in for Ollama in the file of the name that "used" gives, {"INDEX": MiB}.
    """
    told = json.loads(m.gpus.read_text())
    if "fails" in told:
        return 9, told["fails"].encode()
    query, form = words
    if not query.startswith("--query-gpu=") or form != "--format=csv,noheader,nounits":
        raise NotModelledError(f"nvidia-smi {words}")
    where = Path(told["used"])
    taken = json.loads(where.read_text()) if where.exists() else {}
    rows = []
    for gpu in told["gpus"]:
        used = int(taken.get(gpu["index"], 0))
        memory = {"memory.used": str(used), "memory.free": str(int(gpu["memory.total"]) - used)}
        rows.append(", ".join({**gpu, **memory}[field] for field in query.partition("=")[2].split(",")))
    return 0, "\n".join(rows).encode()


_CURL = {
    "-fsSL",
    "--retry",
    "3",
    "--connect-timeout",
    "20",
    "--speed-limit",
    "1",
    "--speed-time",
    "60",
    "-C",
    "-",
    "-sSIL",
    "--stderr",
    "-m",
    "8",
    "-w",
    " %{http_code}",
}


def _curl(m: Machine, words: list[str]) -> tuple[int, bytes]:
    """The same options to curl of this machine."""
    if "-o" not in words[:-1]:
        raise NotModelledError("curl without -o")
    at = words.index("-o")
    target, url = words[at + 1], words[-1:]
    options = [*words[:at], *words[at + 2 : -1]]
    if set(options) - _CURL or len(url) != 1 or not url[0].startswith(("http://", "https://")):
        raise NotModelledError(f"curl {words}")
    command = ["curl", *options, "-o", os.devnull if target == "NUL" else str(m.file(target)), *url]
    done = subprocess.run(command, capture_output=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


def _tar(m: Machine, words: list[str]) -> tuple[int, bytes]:
    """`tar -xf ARCHIVE.zip -C DIRECTORY`, as Windows' bsdtar does it."""
    if len(words) != 4 or words[0] != "-xf" or words[2] != "-C":
        raise NotModelledError(f"tar {words}")
    folder = m.file(words[3])
    if not folder.is_dir():
        return 1, b"could not chdir"
    try:
        with zipfile.ZipFile(m.file(words[1])) as archive:
            archive.extractall(folder)
    except (OSError, zipfile.BadZipFile) as error:
        return 1, str(error).encode()
    return 0, b""


def _fsutil(m: Machine, words: list[str]) -> tuple[int, bytes]:
    """`fsutil hardlink create NEW EXISTING`."""
    if len(words) != 4 or words[:2] != ["hardlink", "create"]:
        raise NotModelledError(f"fsutil {words}")
    new, there = m.file(words[2]), m.file(words[3])
    if new.exists() or not new.parent.is_dir() or not there.is_file():
        return 1, b"Error"
    try:
        new.hardlink_to(there)
    except OSError as error:  # another drive
        return 1, str(error).encode()
    return 0, b""


def _icacls(m: Machine, words: list[str]) -> tuple[int, bytes]:
    """`icacls PATH /inheritance:r /grant:r *SID:(OI)(CI)F …`: recorded as the folder's mode."""
    path, *rest = words
    if rest[:2] != ["/inheritance:r", "/grant:r"] or not all(word.startswith("*S-1-5-") for word in rest[2:]):
        raise NotModelledError(f"icacls {words}")
    there = m.file(path)
    if not there.exists():
        return 2, b"The system cannot find the file specified."
    there.chmod(0o700)
    return 0, b""
