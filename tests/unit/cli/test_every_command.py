"""What holds for every command: an example in its help, a pipe that closes, Ctrl-C, and a shell that completes."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from ollama_fleet.cli import VERBS, cli
from ollama_fleet.outputs.schemas import SCHEMAS
from unit.cli.command import COMMAND, run

FLEET = """\
version: 1
release: {version: 0.32.15}
models:
  reasoner: {from: 'deepseek-r1:7b', num_ctx: 8192}
groups:
  rack: {hosts: [gpu-01, gpu-02], models: [reasoner]}
hosts:
  gpu-01: {address: 127.0.0.1, ssh: {port: PORT}, gpus: [rtx-4090]}
  gpu-02: {address: 192.0.2.2, gpus: [rtx-4090]}
"""
AS_JSON = {
    "bench": ["gpu-01"],
    "clients": [],
    "doctor": ["gpu-01"],
    "drift": ["gpu-01"],
    "fit": ["deepseek-r1:7b", "--gpu", "rtx-4090"],
    "history": ["gpu-01"],
    "lock": ["--check", "--offline"],
    "plan": [],
    "recommend": ["--gpu", "rtx-4090"],
    "tune": ["gpu-01"],
    "validate": [],
    "verify": ["gpu-01"],
}
"""What each command that knows `--json` is asked here; nobody answers on gpu-01."""
FAILING = {"bench", "doctor", "drift", "history", "lock", "tune", "verify"}
"""Those that then have to say that something is wrong."""
PRINTING = (
    ["--help"],
    ["init", "new"],
    ["schema"],
    ["report", "-o", "-"],
    *([verb, *arguments] for verb, arguments in AS_JSON.items()),
    *([verb, *arguments, "--json"] for verb, arguments in AS_JSON.items()),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fleet.yaml").write_text(FLEET.replace("PORT", "1"))
    (tmp_path / "fleet.lock").write_text("version: 1\n")
    return tmp_path


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_has_an_example_that_the_command_takes(verb: str) -> None:
    context = click.Context(cli)
    found = cli.get_command(context, verb)
    assert found is not None
    said = " ".join((found.help or "").split())

    example = re.search(rf"Example: ollama-fleet {verb}\b([^>|]*)", said)

    assert example, f"ollama-fleet {verb} --help has no example"
    options = {name for parameter in found.params for name in (*parameter.opts, *parameter.secondary_opts)}
    words = shlex.split(example[1])
    assert {word for word in words if word.startswith("-") and word != "-"} <= options
    if not any(isinstance(parameter, click.Argument) for parameter in found.params):
        assert not words or words[0].startswith("-")


def test_what_knows_json_has_a_schema_and_is_tried_here() -> None:
    known = {
        verb
        for verb in VERBS
        if (found := cli.get_command(click.Context(cli), verb))
        and any("--json" in parameter.opts for parameter in found.params)
    }
    assert known == set(AS_JSON)
    assert set(SCHEMAS) == known | {"fleet", "lock-check"}


@pytest.mark.parametrize("verb", AS_JSON)
def test_json_is_as_its_schema_says(verb: str, folder: Path) -> None:
    done = run(verb, *AS_JSON[verb], "--json", cwd=folder)  # which holds it to the schema
    assert done.stdout, done.stderr
    assert done.returncode == (1 if verb in FAILING else 0), done.stderr


def test_json_of_mistakes(folder: Path) -> None:
    (folder / "fleet.yaml").write_text("version: 2\nhost: {}\n")
    done = run("validate", "--json", cwd=folder)
    assert (done.returncode, done.stderr) == (1, "")
    assert len(json.loads(done.stdout)) >= 2


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_a_reader_that_goes_away(arguments: list[str], folder: Path) -> None:
    """As `| head -0` does; neither a traceback nor Python's own complaint at its end."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [COMMAND, *arguments],
            cwd=folder,
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    finally:
        os.close(write)
    assert done.returncode == 1
    assert not re.search("Traceback|Exception|Broken", done.stderr), done.stderr


def test_a_reader_that_has_seen_enough(folder: Path) -> None:
    """As `| head -1` does, with more to come than a pipe holds."""
    # Without a buffer of its own Python would not notice that only half was taken.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        [COMMAND, "schema"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "{\n"
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(60) == 1
    assert said == ""


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


SILENT = """\
version: 1
release: {version: 0.24.0, source: 'http://127.0.0.1:PORT/'}
registries: {'127.0.0.1:PORT': {insecure: true}}
models:
  reasoner: {from: '127.0.0.1:PORT/library/reasoner:7b', num_ctx: 8192}
hosts:
  gpu-01: {address: 127.0.0.1, ssh: {port: PORT}, gpus: [rtx-4090], models: [reasoner]}
"""
"""Whoever is asked for anything here takes the connection and says nothing."""
WAITING = (
    ["bench", "gpu-01"],
    ["doctor", "gpu-01"],
    ["drift", "gpu-01"],
    ["history", "gpu-01"],
    ["lock"],
    ["report", "--live"],
    ["retire", "-y", "gpu-01"],
    ["rollback", "gpu-01"],
    ["tune", "gpu-01"],
    ["verify", "gpu-01"],
)
"""Every command that talks to somebody; the others have ended before anybody could interrupt them."""


@pytest.mark.parametrize("arguments", WAITING, ids=" ".join)
def test_interrupted(arguments: list[str], folder: Path, silent: int) -> None:
    """One word, the exit code of an interruption, and every file as it was."""
    (folder / "fleet.yaml").write_text(SILENT.replace("PORT", str(silent)))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    code, said = _interrupted([COMMAND, *arguments], folder, silent)

    assert code == 130, said
    assert "Traceback" not in said
    assert said.splitlines()[-1] == "interrupted"
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_an_apply_interrupted_while_it_connects(folder: Path, silent: int) -> None:
    """The message and the exit code are pyinfra's own."""
    (folder / "fleet.yaml").write_text(SILENT.replace("PORT", str(silent)))
    root = Path(__file__).resolve().parents[3]
    (folder / "inventory").mkdir()
    for name in ("deploy.py", "inventory/hosts.py"):
        (folder / name).write_text((root / name).read_text())
    pyinfra = str(Path(COMMAND).with_name("pyinfra"))
    _, said = _interrupted([pyinfra, "-y", "inventory/hosts.py", "deploy.py"], folder, silent)

    assert "Traceback" not in said
    assert "Exiting upon user request!" in said


def _interrupted(command: list[str], folder: Path, port: int) -> tuple[int, str]:
    """Interrupt a command that waits for an answer on a port; its exit code, and all that it said."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "HOME": str(folder)},
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None and not _connected(process.pid, port):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    return process.returncode, said


def _connected(pid: int, port: int) -> bool:
    """Whether a process has a connection to a port of this machine."""
    wanted = f"0100007F:{port:04X}"
    lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    return any(line.split()[2] == wanted for line in lines)


def completed(folder: Path, line: str) -> set[str]:
    """What bash proposes behind a line, by the script that the command gives it."""
    words = line.split(" ")
    script = f"""
source <(_OLLAMA_FLEET_COMPLETE=bash_source ollama-fleet)
COMP_WORDS=({" ".join(map(shlex.quote, words))}); COMP_CWORD={len(words) - 1}
_ollama_fleet_completion ollama-fleet
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": f"{COMMAND.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("line", "proposed"),
    [
        ("ollama-fleet va", {"validate"}),
        ("ollama-fleet plan --ex", {"--explain"}),
        ("ollama-fleet plan gpu", {"gpu-01", "gpu-02"}),
        ("ollama-fleet drift r", {"rack"}),
        ("ollama-fleet clients op", {"open-webui", "openai"}),
        ("ollama-fleet clients --host gpu-02 --host ra", {"rack"}),
    ],
)
def test_bash_completes(line: str, proposed: set[str], folder: Path) -> None:
    assert completed(folder, line) == proposed


def test_bash_is_not_disturbed_by_a_fleet_that_is_wrong(folder: Path) -> None:
    (folder / "fleet.yaml").write_text("version: 2\n")
    assert completed(folder, "ollama-fleet plan gpu") == set()


@pytest.mark.parametrize("verb", ["--help", "validate", "plan", "report"])
def test_what_reads_files_alone_does_without_pyinfra(verb: str, folder: Path) -> None:
    """It costs a second, which is most of what these take; so does every key press of a shell that completes."""
    script = (
        "import sys; from ollama_fleet.cli import cli;"
        "cli.main(sys.argv[1:], standalone_mode=False);"
        "sys.exit(str({'pyinfra', 'gevent', 'paramiko'} & set(sys.modules) or ''))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, verb, *AS_JSON.get(verb, [])],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr.strip() == ""
