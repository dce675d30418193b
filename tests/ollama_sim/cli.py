"""The command line: `ollama serve`, `list`, `ps`, `pull`, `create`, `show`, `rm`, `cp`, `run`, `stop`, `--version`."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from ollama_sim import modelfile, names
from ollama_sim.client import Client, ClientError
from ollama_sim.environ import Environment
from ollama_sim.progress import human_bytes
from ollama_sim.release import Release, current


def main(arguments: Sequence[str]) -> int:
    """Run one command; the exit status."""
    environment, release = Environment(), current()
    if not (environment.raw.get("HOME") or environment.text("OLLAMA_MODELS")):
        print("panic: $HOME is not defined\n\ngoroutine 1 [running]:", file=sys.stderr)
        return 2
    parsed = _parser().parse_args(list(arguments))
    if parsed.version:
        return version(Client(environment), release)
    if parsed.verb is None:
        _parser().print_help()
        return 0
    if parsed.verb in ("serve", "start"):
        return _serve(environment, release)
    try:
        return _Verbs(Client(environment), parsed).run()
    except (ClientError, modelfile.ModelfileError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1


def _serve(environment: Environment, release: Release) -> int:
    from ollama_sim import server

    if not environment.raw.get("HOME"):
        print("Error: $HOME is not defined", file=sys.stderr)
        return 1
    server.rename_process()
    try:
        server.keypair(environment)
    except OSError as error:
        print(f"Error: could not create directory {error}", file=sys.stderr)
        return 1
    return server.serve(environment, release)


class _Parser(argparse.ArgumentParser):
    """argparse with the manners of the real program."""

    def error(self, message: str) -> NoReturn:
        unknown = re.search(r"invalid choice: '([^']*)'", message)
        words = f'unknown command "{unknown[1]}" for "ollama"' if unknown else message
        if message.startswith("the following arguments are required: "):
            words = f"accepts {message.count(',') + 1} arg(s), received 0"
        print(f"Error: {words}", file=sys.stderr)
        sys.exit(1)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="ollama", description="A stand-in for a large language model runner")
    parser.add_argument("-v", "--version", action="store_true", help="Show version information")
    verbs = parser.add_subparsers(dest="verb")
    verbs.add_parser("serve", aliases=["start"], help="Start the stand-in")
    verbs.add_parser("list", aliases=["ls"], help="List models").add_argument("prefix", nargs="?", default="")
    verbs.add_parser("ps", help="List running models")
    for verb in ("pull", "show", "stop", "run", "create"):
        verbs.add_parser(verb).add_argument("model")
    verbs.choices["pull"].add_argument("--insecure", action="store_true")
    verbs.choices["create"].add_argument("-f", "--file", default="Modelfile")
    verbs.choices["create"].add_argument("-q", "--quantize", default="")
    for flag in ("license", "modelfile", "parameters", "system", "template"):
        verbs.choices["show"].add_argument(f"--{flag}", action="store_true")
    run = verbs.choices["run"]
    run.add_argument("prompt", nargs="*")
    run.add_argument("--keepalive", default=None)
    run.add_argument("--verbose", action="store_true")
    verbs.add_parser("rm", help="Remove a model").add_argument("models", nargs="+")
    copy = verbs.add_parser("cp", help="Copy a model")
    copy.add_argument("source")
    copy.add_argument("destination")
    return parser


def version(client: Client, release: Release) -> int:
    """Print the server's version, and the client's where it is another."""
    try:
        running = client.call("GET", "/api/version")["version"]
    except ClientError:
        running = ""
        print("Warning: could not connect to a running Ollama instance")
    if running:
        print(f"ollama version is {running}")
    if running != release.version:
        print(f"Warning: client version is {release.version}")
    return 0


class _Verbs:
    def __init__(self, client: Client, arguments: argparse.Namespace) -> None:
        self.client = client
        self.arguments = arguments

    def run(self) -> int:
        self.client.call("HEAD", "/")
        verb = {"ls": "list", "rm": "remove", "cp": "copy"}.get(self.arguments.verb, self.arguments.verb)
        result = getattr(self, verb if verb != "run" else "ask")()
        return int(result or 0)

    def list(self) -> None:
        rows = [("NAME", "ID", "SIZE", "MODIFIED")]
        for model in self.client.call("GET", "/api/tags")["models"]:
            if model["name"].lower().startswith(self.arguments.prefix.lower()):
                size, when = human_bytes(model["size"]), human_time(model["modified_at"])
                rows.append((model["name"], model["digest"][:12], size, when))
        _table(rows)

    def ps(self) -> None:
        rows = [("NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL")]
        for model in self.client.call("GET", "/api/ps")["models"]:
            until = human_time(model["expires_at"])
            rows.append(
                (
                    model["name"],
                    model["digest"][:12],
                    human_bytes(model["size"]),
                    processor(model["size"], model["size_vram"]),
                    str(model["context_length"]),
                    "Stopping..." if until.endswith("ago") else until,
                )
            )
        _table(rows)

    def pull(self) -> None:
        body = {"model": self.arguments.model, "insecure": self.arguments.insecure}
        self._follow("/api/pull", body)

    def create(self) -> None:
        if not names.parse(self.arguments.model).valid:
            raise ClientError(f"invalid model name: {self.arguments.model}")
        path = Path(self.arguments.file)
        if not path.exists():
            # The real one then looks for models in the working folder.
            raise ClientError("no Modelfile or safetensors files found")
        body, uploads = modelfile.request(modelfile.parse(path.read_text("utf-8-sig")), path.parent)
        for digest, file in uploads.items():
            self.client.upload(digest, file)
        if self.arguments.quantize:
            body["quantize"] = self.arguments.quantize
        self._follow("/api/create", {"model": self.arguments.model, **body})

    def show(self) -> int:
        answer = self.client.call("POST", "/api/show", {"model": self.arguments.model})
        for flag in ("license", "modelfile", "parameters", "system", "template"):
            if getattr(self.arguments, flag):
                print(answer.get(flag, ""))
                return 0
        details = answer["details"]
        print("  Model")
        print(f"    architecture        {details['family']}")
        print(f"    parameters          {details['parameter_size']}")
        print(f"    quantization        {details['quantization_level']}")
        return 0

    def remove(self) -> None:
        for model in self.arguments.models:
            try:
                self.client.call("POST", "/api/generate", {"model": model, "keep_alive": 0})
            except ClientError as error:
                if "not found" not in str(error):
                    print(f"Warning: unable to stop model '{model}'", file=sys.stderr)
            self.client.call("DELETE", "/api/delete", {"model": model})
            print(f"deleted '{model}'")

    def copy(self) -> None:
        source, destination = self.arguments.source, self.arguments.destination
        self.client.call("POST", "/api/copy", {"source": source, "destination": destination})
        print(f"copied '{source}' to '{destination}'")

    def stop(self) -> None:
        model = self.arguments.model
        try:
            self.client.call("POST", "/api/generate", {"model": model, "keep_alive": 0})
        except ClientError as error:
            if "not found" in str(error):
                raise ClientError(f'couldn\'t find model "{model}" to stop') from error
            raise

    def ask(self) -> None:
        prompt = " ".join(self.arguments.prompt) or ("" if sys.stdin.isatty() else sys.stdin.read())
        body: dict[str, Any] = {"model": self.arguments.model, "prompt": prompt}
        if self.arguments.keepalive:
            body["keep_alive"] = self.arguments.keepalive
        for event in self.client.lines("/api/generate", body):
            print(event["response"], end="", flush=True)
        print("\n" if prompt else "", end="")

    def _follow(self, path: str, body: dict[str, Any]) -> None:
        last = ""
        for event in self.client.lines(path, body):
            if event["status"] != last:
                last = event["status"]
                print(last, file=sys.stderr)


def processor(size: int, vram: int) -> str:
    """The PROCESSOR column of `ollama ps`."""
    if vram == 0:
        return "100% CPU"
    if vram == size:
        return "100% GPU"
    if vram > size or size == 0:
        return "Unknown"
    cpu = int((size - vram) / size * 100 + 0.5)
    return f"{cpu}%/{100 - cpu}% CPU/GPU"


def human_time(text: str) -> str:
    """A moment as the tables show it: `5 minutes ago`, `24 hours from now`, `Forever`."""
    head, _, _ = text.partition(".")
    moment = datetime.fromisoformat(head if "." in text and head[-1] != "Z" else text)
    if "." in text:
        zone = text[len(head) + 1 :].lstrip("0123456789")
        moment = datetime.fromisoformat(head + (zone or "Z"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = moment.timestamp() - time.time()
    if seconds > 20 * 365 * 86400:
        return "Forever"
    words = _span(abs(seconds))
    return f"{words} from now" if seconds > 0 else f"{words} ago"


def _span(seconds: float) -> str:
    if seconds < 1:
        return "Less than a second"
    for unit, name, limit in ((1, "second", 60), (60, "minute", 60), (3600, "hour", 48), (86400, "day", 14)):
        count = int(seconds // unit)
        if count < limit:
            if count == 1:
                return {"minute": "About a minute", "hour": "About an hour"}.get(name, f"1 {name}")
            return f"{count} {name}s"
    for unit, name, limit in ((7 * 86400, "week", 9), (30 * 86400, "month", 24)):
        count = int(seconds // unit)
        if count < limit:
            return f"{count} {name}s"
    return f"{int(seconds // (365 * 86400))} years"


def _table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("".join(cell.ljust(width) + "    " for cell, width in zip(row, widths, strict=True)))
