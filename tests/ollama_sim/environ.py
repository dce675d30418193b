"""The server's settings: `OLLAMA_*` read the way Go reads them, with its defaults and its quirks."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ollama_sim import gotime
from ollama_sim.release import Generation

_TRUE = frozenset(["1", "t", "T", "TRUE", "true", "True"])
_FALSE = frozenset(["0", "f", "F", "FALSE", "false", "False"])


@dataclass(frozen=True)
class Address:
    """Where the server listens or the client connects."""

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def joined(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.joined}" + (f"/{self.path}" if self.path else "")


class Environment:
    """One process's environment, seen through the program's eyes."""

    def __init__(self, raw: Mapping[str, str] | None = None) -> None:
        self.raw = dict(os.environ if raw is None else raw)

    def text(self, key: str) -> str:
        """The value without surrounding blanks and quotes."""
        return self.raw.get(key, "").strip().strip("\"'")

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Whatever is set and not a word for false is true: "no" is true."""
        value = self.text(key)
        if not value:
            return default
        return value not in _FALSE

    def count(self, key: str, default: int = 0) -> int:
        value = self.text(key)
        return int(value) if value.isascii() and value.isdigit() else default

    def duration(self, key: str, default: int) -> int:
        """Nanoseconds; a bare number is seconds, and what cannot be read is the default."""
        value = self.text(key)
        if not value:
            return default
        try:
            return gotime.parse_duration(value)
        except ValueError:
            try:
                return int(value) * gotime.SECOND
            except ValueError:
                return default

    @property
    def home(self) -> Path:
        return Path(self.raw.get("HOME", ""))

    @property
    def models(self) -> Path:
        value = self.text("OLLAMA_MODELS")
        return Path(value) if value else self.home / ".ollama" / "models"

    @property
    def keep_alive(self) -> int:
        value = self.duration("OLLAMA_KEEP_ALIVE", 300 * gotime.SECOND)
        return gotime.FOREVER if value < 0 else value

    @property
    def load_timeout(self) -> int:
        value = self.duration("OLLAMA_LOAD_TIMEOUT", 300 * gotime.SECOND)
        return gotime.FOREVER if value <= 0 else value

    @property
    def log_level(self) -> int:
        """slog's number: 0 info, -4 debug, -8 trace."""
        value = self.text("OLLAMA_DEBUG")
        if value in _TRUE:
            return -4
        try:
            return int(value) * -4
        except ValueError:
            return 0

    @property
    def host(self) -> Address:
        """`[scheme://]host[:port][/path]`, every part of it optional."""
        text = self.text("OLLAMA_HOST").strip()
        scheme, found, rest = text.partition("://")
        port = {"http": 80, "https": 443}.get(scheme, 11434) if found else 11434
        if not found:
            scheme, rest = "http", text
        rest, _, path = rest.partition("/")
        host, given = _split_host_port(rest)
        if given is None:
            host = host or "127.0.0.1"
        elif given.lstrip("+-").isdigit() and 0 <= int(given) <= 65535:
            port = int(given)
        return Address(scheme, host, port, path)

    @property
    def connectable(self) -> Address:
        """The server's address as a client on the same machine reaches it."""
        address = self.host
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(address.host, address.host)
        return Address(address.scheme, host, address.port, address.path)

    @property
    def origins(self) -> list[str]:
        """The origins a browser may come from."""
        given = self.text("OLLAMA_ORIGINS")
        origins = given.split(",") if given else []
        for name in ("localhost", "127.0.0.1", "0.0.0.0"):
            origins += [f"http://{name}", f"https://{name}", f"http://{name}:*", f"https://{name}:*"]
        return [*origins, "app://*", "file://*", "tauri://*", "vscode-webview://*", "vscode-file://*"]

    def effective(self, generation: Generation) -> dict[str, str]:
        """What the server says at its start that it runs with, by variable."""
        show = _Shown(self)
        values = {
            "OLLAMA_DEBUG": {0: "INFO", -4: "DEBUG", -8: "DEBUG-4"}.get(self.log_level, str(self.log_level)),
            "OLLAMA_DEBUG_LOG_REQUESTS": show.flag("OLLAMA_DEBUG_LOG_REQUESTS"),
            "OLLAMA_FLASH_ATTENTION": show.flag("OLLAMA_FLASH_ATTENTION"),
            "OLLAMA_HOST": self.host.url,
            "OLLAMA_KEEP_ALIVE": gotime.format_duration(self.keep_alive),
            "OLLAMA_LOAD_TIMEOUT": gotime.format_duration(self.load_timeout),
            "OLLAMA_GPU_OVERHEAD": show.count("OLLAMA_GPU_OVERHEAD"),
            "OLLAMA_MAX_LOADED_MODELS": show.count("OLLAMA_MAX_LOADED_MODELS"),
            "OLLAMA_MAX_QUEUE": show.count("OLLAMA_MAX_QUEUE", 512),
            "OLLAMA_MAX_TRANSFER_STREAMS": show.count("OLLAMA_MAX_TRANSFER_STREAMS", 4),
            "OLLAMA_MODELS": str(self.models),
            "OLLAMA_NUM_PARALLEL": show.count("OLLAMA_NUM_PARALLEL", 1),
            "OLLAMA_CONTEXT_LENGTH": show.count("OLLAMA_CONTEXT_LENGTH"),
            "OLLAMA_ORIGINS": "[" + " ".join(self.origins) + "]",
            "OLLAMA_REMOTES": "[" + (self.text("OLLAMA_REMOTES") or "ollama.com").replace(",", " ") + "]",
            "OLLAMA_VULKAN": show.flag("OLLAMA_VULKAN", default=generation.llama_server),
        }
        for key in ("OLLAMA_NO_CLOUD", "OLLAMA_NOHISTORY", "OLLAMA_NOPRUNE", "OLLAMA_SCHED_SPREAD"):
            values[key] = show.flag(key)
        for key in ("OLLAMA_KV_CACHE_TYPE", "OLLAMA_LLM_LIBRARY", "OLLAMA_EDITOR", *_INFORMATIONAL):
            values[key] = self.text(key)
        if generation.llama_server:
            values["OLLAMA_GO_TEMPLATE"] = show.flag("OLLAMA_GO_TEMPLATE", default=True)
            for key in ("OLLAMA_IGPU_ENABLE", "LLAMA_ARG_FIT", "LLAMA_ARG_FIT_TARGET"):
                values[key] = self.text(key)
        else:
            values["OLLAMA_MULTIUSER_CACHE"] = show.flag("OLLAMA_MULTIUSER_CACHE")
            values["OLLAMA_NEW_ENGINE"] = show.flag("OLLAMA_NEW_ENGINE")
        return values


_INFORMATIONAL = (
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    *("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"),
    *("GGML_VK_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "HSA_OVERRIDE_GFX_VERSION"),
)


class _Shown:
    """Values in the words of Go's %v."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment

    def flag(self, key: str, *, default: bool = False) -> str:
        return "true" if self.environment.flag(key, default=default) else "false"

    def count(self, key: str, default: int = 0) -> str:
        return str(self.environment.count(key, default))


def _split_host_port(text: str) -> tuple[str, str | None]:
    """Host and port; the port is None where there is none, and the host then is a bare one."""
    before, colon, port = text.rpartition(":")
    if before.startswith("[") and before.endswith("]"):
        return before[1:-1], port
    if colon and ":" not in before and not text.startswith("["):
        return before, port
    bare = text.strip("[]")
    try:
        return str(ipaddress.ip_address(bare)), None
    except ValueError:
        return text, None
