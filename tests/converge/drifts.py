"""Ways in which a host of the rack, or the repository, comes to differ from what the last apply left.

Each names the items that a dry run must report: what was injected, and what follows from it on the host. Nothing else.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from converge.fleet_directory import FleetDirectory
from lab.host import Host

MODELS = "/srv/ollama models/m"
UNIT = "/etc/systemd/system/ollama.service"
DROP_IN = f"{UNIT}.d/zz-fleet.conf"
ENVIRONMENT = "/etc/ollama-fleet/environment"
PROFILE = "/etc/profile.d/ollama-fleet.sh"
STATE = "/var/lib/ollama-fleet"
REASONER = f"{MODELS}/manifests/registry.ollama.ai/library/reasoner/latest"

UFW_ORDER = frozenset({"/etc/ufw/user.rules", "/etc/ufw/user6.rules"})
"""ufw appends what is added again; the order of rules that only allow means nothing."""

STORE = frozenset({f"directory {path}" for path in (MODELS, f"{MODELS}/blobs", f"{MODELS}/manifests")})
OWNED = STORE | {"directory /usr/share/ollama/.ollama"}
"""What belongs to the user of the service."""

SERVICE = "service ollama"
MODEL = "model reasoner:latest"
LOADED = "loaded reasoner:latest"
FIREWALL = "firewall port 11434"


@dataclass(frozen=True)
class Scene:
    """Where a drift happens."""

    host: Host
    fleet: FleetDirectory
    base: str
    version: str

    def shell(self, line: str) -> str:
        """Run a line of shell as root on the host."""
        return self.host.run(line, timeout=60).stdout

    def ask(self, path: str, body: object = None, method: str = "POST") -> str:
        """Call the server's API from the host itself."""
        data = "" if body is None else f"-d {shlex.quote(json.dumps(body))}"
        return self.shell(f"curl -gsSf -m 30 -X {method} {data} 'http://[::1]:11434{path}'")

    def create(self, **changed: object) -> None:
        """Make `reasoner` anew by hand, with something else than fleet.yaml says."""
        model = self.fleet.document["models"]["reasoner"]
        parameters = {**model["parameters"], "num_ctx": model["num_ctx"], "num_gpu": model["num_gpu"]}
        request = {
            "model": "reasoner",
            "from": self.base,
            "system": model["system"],
            "parameters": parameters,
        }
        self.ask("/api/create", {**request, **changed, "stream": False})

    def parameters(self, **changed: object) -> dict[str, object]:
        """The parameters of `reasoner` with some changed."""
        model = self.fleet.document["models"]["reasoner"]
        return {**model["parameters"], "num_ctx": model["num_ctx"], "num_gpu": model["num_gpu"], **changed}


@dataclass(frozen=True)
class Drift:
    """One kind of drift and what it looks like."""

    name: str
    inject: Callable[[Scene], object]
    items: Callable[[Scene], set[str]]
    restarts: bool
    """The apply must restart the server; where it need not, it must not."""
    on: Literal["ufw", "nftables", "any"] = "any"
    note: str = ""
    """Part of a line that is told besides."""
    leaves: frozenset[str] = frozenset()
    """Paths that the repair may leave otherwise than they were, though as right."""
    undo: str = ""
    """Shell that takes away what an apply rightly leaves."""

    def __str__(self) -> str:
        return self.name


def _shell(line: str) -> Callable[[Scene], object]:
    return lambda scene: scene.shell(line)


def _are(*items: str) -> Callable[[Scene], set[str]]:
    return lambda _: set(items)


def _release(scene: Scene) -> set[str]:
    return {f"release {scene.version}"}


def _blob(kind: str) -> str:
    """Shell that prints the path of the one layer of a kind of `reasoner`."""
    find = (
        "import json, sys; m = json.load(open(sys.argv[1])); "
        "print(*(l['digest'].replace(':', '-') for l in m['layers'] if l['mediaType'].endswith('.' + sys.argv[2])))"
    )
    return f'"{MODELS}/blobs/$(python3 -c {shlex.quote(find)} {shlex.quote(REASONER)} {kind})"'


_QUOTED = shlex.quote(MODELS)

DRIFTS = [
    Drift(
        "drop-in edited",
        _shell(f"sed -i s/EnvironmentFile/#EnvironmentFile/ {DROP_IN}"),
        _are(f"file {DROP_IN}"),
        True,
    ),
    Drift("drop-in removed", _shell(f"rm {DROP_IN}"), _are(f"file {DROP_IN}"), True),
    Drift("unit edited", _shell(f"sed -i s/RestartSec=3/RestartSec=30/ {UNIT}"), _are(f"file {UNIT}"), True),
    Drift(
        "variable changed in its file",
        _shell(f"sed -i s/-1/5m/ {ENVIRONMENT}"),
        _are(f"file {ENVIRONMENT}"),
        True,
    ),
    Drift(
        "environment readable by all", _shell(f"chmod 644 {ENVIRONMENT}"), _are(f"file {ENVIRONMENT}"), True
    ),
    Drift(
        "process started with another variable",
        _shell(
            f"cp -a {ENVIRONMENT} /run/kept; "
            f"sed -i 's/^OLLAMA_DEBUG=.*/OLLAMA_DEBUG=0/' {ENVIRONMENT}; systemctl restart ollama; "
            f"mv /run/kept {ENVIRONMENT}"
        ),
        # The restart has emptied the memory too.
        _are(SERVICE, LOADED),
        True,
    ),
    Drift("service stopped", _shell("systemctl stop ollama"), _are(SERVICE), True),
    Drift("service disabled", _shell("systemctl disable --quiet ollama"), _are(SERVICE), False),
    Drift(
        "unit masked",
        _shell(f"ln -sf /dev/null {UNIT}; systemctl daemon-reload"),
        _are(f"file {UNIT}", SERVICE),
        True,
    ),
    Drift("link to the version moved", _shell("ln -sfn 0.1.0 /opt/ollama/current"), _release, True),
    Drift(
        "command replaced",
        _shell("rm /usr/local/bin/ollama; printf '#!/bin/sh\\n' >/usr/local/bin/ollama"),
        _release,
        True,
        # What stood in the way is somebody's: it is kept.
        leaves=frozenset({"/usr/local/bin/ollama.before-fleet"}),
        undo="rm /usr/local/bin/ollama.before-fleet",
    ),
    Drift(
        "binary replaced",
        # By another file: a running binary cannot be written to.
        lambda s: s.shell(f"cd /opt/ollama/{s.version}/bin; cp ollama new; echo >>new; mv new ollama"),
        _release,
        True,
    ),
    Drift(
        "library replaced",
        lambda s: s.shell(f"echo >>$(find /opt/ollama/{s.version}/lib -type f | head -n 1)"),
        _release,
        True,
    ),
    Drift(
        "models of another owner",
        _shell(f"chown student:student {_QUOTED}"),
        _are(f"directory {MODELS}"),
        False,
    ),
    Drift(
        "models closed to their user",
        _shell("chmod 700 '/srv/ollama models'"),
        _are(*STORE),
        False,
        # Only what the way needs is given back: passing through, not looking in.
        leaves=frozenset({"/srv/ollama models"}),
    ),
    Drift("model's manifest deleted", _shell(f"rm {shlex.quote(REASONER)}"), _are(MODEL), False),
    Drift(
        "model removed",
        _shell("OLLAMA_HOST='[::1]:11434' ollama rm reasoner"),
        _are(MODEL, LOADED),
        False,
    ),
    Drift(
        "model out of memory",
        lambda s: s.ask("/api/generate", {"model": "reasoner", "keep_alive": 0}),
        _are(LOADED),
        False,
    ),
    Drift("other num_gpu", lambda s: s.create(parameters=s.parameters(num_gpu=7)), _are(MODEL), False),
    Drift("other system prompt", lambda s: s.create(system="Be brief."), _are(MODEL), False),
    Drift(
        "base re-tagged",
        lambda s: s.ask("/api/copy", {"source": "reasoner", "destination": s.base}),
        lambda s: {f"base {s.base}"},
        False,
    ),
    Drift(
        "base removed",
        lambda s: s.ask("/api/delete", {"model": s.base}, "DELETE"),
        lambda s: {f"base {s.base}"},
        False,
    ),
    Drift("small blob deleted", _shell(f"rm {_blob('system')}"), _are(MODEL), False),
    Drift(
        "weights cut off",
        _shell(f"truncate -s 1000 {_blob('model')}"),
        lambda s: {f"base {s.base}", MODEL},
        False,
    ),
    Drift(
        "rule removed",
        lambda s: s.shell(f"ufw delete allow proto tcp from {_network(s)} to any port 11434"),
        _are(FIREWALL),
        False,
        on="ufw",
        leaves=UFW_ORDER,
    ),
    Drift(
        "rule widened",
        _shell("ufw allow proto tcp from any to any port 11434 comment ollama-fleet"),
        _are(FIREWALL),
        False,
        on="ufw",
    ),
    Drift(
        "table removed", _shell("nft delete table inet ollama_fleet"), _are(FIREWALL), False, on="nftables"
    ),
    Drift(
        "table widened",
        _shell("nft insert rule inet ollama_fleet input tcp dport 11434 accept"),
        _are(FIREWALL),
        False,
        on="nftables",
    ),
    Drift(
        "openings removed",
        _shell("nft flush ruleset; nft -f /etc/nftables.conf"),
        _are(FIREWALL),
        False,
        on="nftables",
    ),
    Drift("rules file edited", _shell(f"echo >>{STATE}/firewall.sh"), _are(FIREWALL), False, on="nftables"),
    Drift("records removed", _shell(f"rm -r {STATE}"), _are(f"directory {STATE}"), False, on="ufw"),
    Drift(
        "user missing",
        _shell("systemctl stop ollama; userdel ollama 2>/dev/null"),
        # What was theirs now belongs to a number.
        _are("account ollama", SERVICE, *OWNED),
        True,
        leaves=frozenset({"/etc/subuid", "/etc/subgid"}),
    ),
    Drift(
        "group missing",
        _shell("sed -i /^ollama:/d /etc/group /etc/gshadow"),
        _are("account ollama", *OWNED),
        False,
    ),
    Drift("not in the device group", _shell("gpasswd --delete ollama video"), _are("account ollama"), False),
    Drift(
        "profile edited",
        _shell(f"echo export OLLAMA_HOST=elsewhere >>{PROFILE}"),
        _are(f"file {PROFILE}"),
        False,
    ),
    Drift("profile removed", _shell(f"rm {PROFILE}"), _are(f"file {PROFILE}"), False),
    Drift(
        "foreign drop-in",
        _shell(
            f"printf '[Service]\\nEnvironment=OLLAMA_KEEP_ALIVE=5m\\n' >{UNIT}.d/zzz-mine.conf; systemctl daemon-reload"
        ),
        _are(),
        False,
        note="zzz-mine.conf is not ours",
        leaves=frozenset({f"{UNIT}.d/zzz-mine.conf"}),
        undo=f"rm {UNIT}.d/zzz-mine.conf; systemctl daemon-reload",
    ),
]


def _network(scene: Scene) -> str:
    return str(scene.fleet.document["defaults"]["firewall"]["allow_from"][0])
