"""The main job, shown on throwaway hosts: `make demo`.

With root it boots two Debian hosts in namespaces of their own; without, it does the same on this machine for the
account that runs it, in a directory of its own. Either way nothing stays behind.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from lab import Lab, LabError
from lab.tiny_gguf import tiny_gguf
from ollama_sim.build import build_release

# Releases up to 0.13.5 unpack with gzip; later ones need zstd, which only root can install where it is missing.
VERSION = "0.24.0" if os.geteuid() == 0 or shutil.which("zstd") else "0.13.5"
FORMAT: Literal["tgz", "tar.zst"] = "tar.zst" if VERSION == "0.24.0" else "tgz"
UPSTREAM = f"https://github.com/ollama/ollama/releases/download/v{VERSION}/sha256sum.txt"


def main() -> int:
    """Run the demo; the exit code is that of what went wrong, or 0."""
    print(heading("ollama-fleet: one YAML file, every Ollama host"))
    with tempfile.TemporaryDirectory(prefix="ollama-fleet-demo-") as temporary:
        directory = Path(temporary)
        os.environ["XDG_CACHE_HOME"] = str(directory / "cache")
        run(command("ollama-fleet"), "init", str(directory))
        try:
            lab = Lab.start(name="demo", say=print)
        except LabError as reason:
            print(f"No hosts of our own here: {reason}.")
            print("The same on this machine, for this account, in a directory of its own:")
            on_this_machine(directory)
        else:
            with lab:
                on_hosts(lab, directory)
    print(heading("Done; nothing is left behind"))
    return 0


def on_hosts(lab: Lab, directory: Path) -> None:
    """Two hosts with two kinds of firewall."""
    one, two = lab.hosts({"gpu-01": {"firewall": "ufw"}, "gpu-02": {"firewall": "nftables"}})
    print(f"Two hosts are up: {one.name} ({one.address}, ufw), {two.name} ({two.address}, nftables)")
    lab.registry.push_gguf(
        "library/tiny", tiny_gguf(directory / "tiny.gguf"), parameters={"temperature": 0.7}
    )
    write_fleet(
        directory,
        f"""
        defaults:
          listen: 0.0.0.0:11434
          models_dir: /srv/ollama/models
          env: {{OLLAMA_KEEP_ALIVE: -1}}
          firewall: {{allow_from: [{", ".join(lab.lan_cidrs)}]}}
          ssh: {{user: root, key: {lab.key}, known_hosts: {lab.known_hosts}}}
        registries:
          '{lab.registry.host}': {{insecure: true}}
        models:
          reasoner:
            from: {lab.registry.model("library/tiny")}
            num_ctx: 512
            num_gpu: 0
            system: You are a careful engineer.
            preload: true
        groups:
          rack: {{hosts: [gpu-01, gpu-02], models: [reasoner]}}
        hosts:
          gpu-01: {{address: {one.address}}}
          gpu-02: {{address: {two.address}}}
        """,
    )
    apply_twice(directory)

    print(heading("Somebody changes gpu-01 by hand"))
    by_hand = "sed -i s/-1/5m/ /etc/ollama-fleet/environment"
    print(f"gpu-01# {by_hand}")
    one.run(by_hand)
    show_and_repair(directory)

    print(heading("What the API says"))
    show_api(one.address, 11434)
    for client, word in ((lab.office, "another network"), (lab.outside, "the outside")):
        target = one.office_address() if client is lab.office else one.outside_address()
        probe = f"import socket; socket.create_connection(('{target}', 11434), 3)"
        reached = client.run([sys.executable, "-c", probe], check=False).returncode == 0
        print(f"From {word} the port is {'OPEN' if reached else 'shut'}.")
        if reached:
            raise SystemExit("the port is open to a network that is not allowed")


def on_this_machine(directory: Path) -> None:
    """This machine, without root: everything below one directory, which also serves as the home."""
    home = directory / "home"
    home.mkdir()
    os.environ["HOME"] = str(home)
    os.environ.pop("XDG_RUNTIME_DIR", None)
    tiny_gguf(directory / "tiny.gguf")
    port = free_port()
    write_fleet(
        directory,
        f"""
        models:
          reasoner:
            from: ./tiny.gguf
            num_ctx: 512
            num_gpu: 0
            system: You are a careful engineer.
        hosts:
          here:
            address: '@local'
            scope: user
            listen: 127.0.0.1:{port}
            env: {{OLLAMA_KEEP_ALIVE: 30m}}
            models: [reasoner]
        """,
    )
    try:
        apply_twice(directory)
        print(heading("Somebody changes a file by hand"))
        profile = home / ".config/ollama-fleet/profile.sh"
        print(f"$ echo export OLLAMA_HOST=elsewhere >> {profile}")
        with profile.open("a") as file:
            file.write("export OLLAMA_HOST=elsewhere\n")
        show_and_repair(directory)
        print(heading("What the API says"))
        show_api("127.0.0.1", port)
    finally:
        stop_supervised(home / ".local/state/ollama-fleet")


def write_fleet(directory: Path, body: str) -> None:
    """Write fleet.yaml for the release that can be had, and lock it."""
    source = release_source(directory)
    text = f"version: 1\nrelease: {{version: {VERSION}, {source}}}\n{textwrap.dedent(body).strip()}\n"
    (directory / "fleet.yaml").write_text(text)
    print(heading("fleet.yaml"))
    print(text.rstrip())
    print(heading("ollama-fleet lock"))
    run(command("ollama-fleet"), "lock", cwd=directory)


def release_source(directory: Path) -> str:
    """The official release where it can be downloaded, else the stand-in; says which."""
    try:
        with urllib.request.urlopen(UPSTREAM, timeout=10) as answer:
            answer.read(1)
    except (OSError, http.client.HTTPException, urllib.error.URLError):
        releases = directory / "releases"
        for architecture in ("amd64", "arm64"):
            build_release(VERSION, architecture, FORMAT, releases)
        print(
            f"Ollama {VERSION} cannot be downloaded here: a STAND-IN takes its place (same API, no real answers)."
        )
        return f"source: 'file://{releases}'"
    print(f"Ollama {VERSION}: the official release, downloaded once and sent to the hosts.")
    return "download: controller"


def apply_twice(directory: Path) -> None:
    """The literal command, then again: nothing changes."""
    print(heading("pyinfra inventory/hosts.py deploy.py -y"))
    pyinfra(directory, "-y")
    print(heading("pyinfra inventory/hosts.py deploy.py -y   (again)"))
    changed = changes(pyinfra_json(directory, "-y")["results"])
    print(
        "No change: every operation found the hosts as they should be."
        if not changed
        else f"CHANGED: {changed}"
    )
    if changed:
        raise SystemExit("the second apply changed something")


def show_and_repair(directory: Path) -> None:
    """A dry run names what was changed; an apply repairs it; then there is nothing left."""
    print(heading("pyinfra --dry inventory/hosts.py deploy.py"))
    pyinfra(directory, "--dry")
    print(heading("pyinfra inventory/hosts.py deploy.py -y"))
    print("Changed:", ", ".join(changes(pyinfra_json(directory, "-y")["results"])))
    left = changes(pyinfra_json(directory, "-y")["results"])
    print("Once more: no change." if not left else f"STILL CHANGING: {left}")
    if left:
        raise SystemExit("the drift was not repaired")


def changes(results: dict[str, list[dict[str, object]]]) -> list[str]:
    """Names of the operations that changed something."""
    return [str(operation["name"]) for operation in results["operations"] if operation["success"]]


def show_api(address: str, port: int) -> None:
    """What a client on an allowed network sees."""
    for path in ("/", "/api/version", "/api/tags"):
        with urllib.request.urlopen(f"http://{address}:{port}{path}", timeout=10) as answer:
            text = answer.read().decode()
        if path == "/api/tags":
            text = ", ".join(model["name"] for model in json.loads(text)["models"])
        print(f"GET http://{address}:{port}{path}  ->  {text}")
    request = urllib.request.Request(
        f"http://{address}:{port}/api/generate",
        json.dumps(
            {"model": "reasoner", "prompt": "Hello", "stream": False, "options": {"num_predict": 8}}
        ).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        print(f"POST /api/generate  ->  {json.loads(answer.read())['response'].strip()!r}")


def stop_supervised(state: Path) -> None:
    """End the server that a script keeps running, and wait until it is gone."""
    for name in ("supervisor.pid", "server.pid"):
        with contextlib.suppress(OSError, ValueError):
            pid = int((state / name).read_text())
            os.kill(pid, signal.SIGTERM)
            for _ in range(100):
                os.kill(pid, 0)
                time.sleep(0.1)


def free_port() -> int:
    """A loopback port that nobody uses at the moment."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pyinfra(directory: Path, *options: str) -> None:
    """The command as a user types it, its output as a user sees it."""
    run(command("pyinfra"), *options, "inventory/hosts.py", "deploy.py", cwd=directory)


def pyinfra_json(directory: Path, *options: str) -> dict[str, dict[str, list[dict[str, object]]]]:
    """The same with `--json`; returns what it prints."""
    argv = [command("pyinfra"), *options, "--json", "inventory/hosts.py", "deploy.py"]
    done = subprocess.run(
        argv, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)} failed:\n{done.stderr}")
    parsed: dict[str, dict[str, list[dict[str, object]]]] = json.loads(done.stdout)
    return parsed


def command(name: str) -> str:
    """A command of the environment that runs this script."""
    return str(Path(sys.executable).parent / name)


def run(*argv: str, cwd: Path | None = None) -> None:
    """Run a command with its output shown; a failure ends the demo."""
    sys.stdout.flush()
    done = subprocess.run(argv, cwd=cwd, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)} failed with exit code {done.returncode}")


def heading(text: str) -> str:
    """A line that stands out."""
    return f"\n=== {text} ==="


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """A kill unwinds like Ctrl-C, so that everything is taken down on the way."""
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


if __name__ == "__main__":
    with _ended_by_signals():
        sys.exit(main())
