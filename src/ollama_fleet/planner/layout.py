"""Where things lie on a host: for the whole system or inside one account's home, or on Windows.

In user scope paths begin with `~/` until the home directory is known from the probe.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePosixPath, PureWindowsPath
from typing import Literal

Scope = Literal["system", "user", "windows"]
"""`windows` is for the whole system too, with other paths."""

SERVICE_USER = "ollama"
MARK = "ollama-fleet"
"""Stands in every file and rule of ours; nothing without it is ever removed."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Absolute paths (or `~/…` before the home is known) of everything that is ours."""

    scope: Scope
    releases: str
    """Holds a directory per version and the links `current` and `previous`."""
    command: str
    """The `ollama` that people type."""
    unit: str
    drop_in: str
    environment: str
    """The server's variables; only root may read them in system scope."""
    profile: str
    """Environment for people's shells."""
    login_profile: str | None
    """The shell start file that reads `profile`; None where the system does so by itself."""
    state: str
    """Our own records and the firewall script."""
    models: str
    service_user: str
    service_group: str
    service_home: str
    instance: str = ""
    """Of several servers on the host the one that this is about; empty for the only one, or for none of them."""

    @classmethod
    def of(cls, scope: Scope, models_dir: str | None = None) -> Layout:
        """Layout of a scope, with the models in `models_dir` or where Ollama would put them."""
        if scope == "windows":
            return cls._windows(models_dir)
        if scope == "system":
            return cls(
                scope="system",
                releases="/opt/ollama",
                command="/usr/local/bin/ollama",
                unit="/etc/systemd/system/ollama.service",
                drop_in="/etc/systemd/system/ollama.service.d/zz-fleet.conf",
                environment="/etc/ollama-fleet/environment",
                profile="/etc/profile.d/ollama-fleet.sh",
                login_profile=None,
                state="/var/lib/ollama-fleet",
                models=models_dir or "/usr/share/ollama/.ollama/models",
                service_user=SERVICE_USER,
                service_group=SERVICE_USER,
                service_home="/usr/share/ollama",
            )
        return cls(
            scope="user",
            releases="~/.local/opt/ollama",
            command="~/.local/bin/ollama",
            unit="~/.config/systemd/user/ollama.service",
            drop_in="~/.config/systemd/user/ollama.service.d/zz-fleet.conf",
            environment="~/.config/ollama-fleet/environment",
            profile="~/.config/ollama-fleet/profile.sh",
            login_profile="~/.profile",
            state="~/.local/state/ollama-fleet",
            models=models_dir or "~/.ollama/models",
            service_user="",
            service_group="",
            service_home="~",
        )

    @classmethod
    def _windows(cls, models_dir: str | None) -> Layout:
        """Below Program Files, where only administrators may write: SYSTEM runs what lies there."""
        root = "C:\\Program Files\\ollama-fleet"
        return cls(
            scope="windows",
            releases=f"{root}\\releases",
            command="",
            unit="",
            drop_in="",
            environment=f"{root}\\state\\serve.ps1",
            profile="",
            login_profile=None,
            state=f"{root}\\state",
            models=models_dir or "C:\\ProgramData\\Ollama\\models",
            service_user="SYSTEM",
            service_group="",
            service_home="",
        )

    def at(self, home: str, user: str, group: str) -> Layout:
        """Fill in the home directory and the account of a user-scope host; system scope is complete."""
        if self.scope != "user":
            return self

        def full(path: str) -> str:
            return home + path[1:] if path == "~" or path.startswith("~/") else path

        return replace(
            self,
            releases=full(self.releases),
            command=full(self.command),
            unit=full(self.unit),
            drop_in=full(self.drop_in),
            environment=full(self.environment),
            profile=full(self.profile),
            login_profile=full(self.login_profile) if self.login_profile else None,
            state=full(self.state),
            models=full(self.models),
            service_user=user,
            service_group=group,
            service_home=home,
        )

    def for_instance(self, name: str) -> Layout:
        """The same for one of several servers: they share all but the unit and the environment."""
        if self.scope == "windows":
            return replace(self, instance=name, environment=self.below(self.state, f"serve-{name}.ps1"))
        return replace(
            self,
            instance=name,
            unit=self.instance_unit,
            drop_in=self.instance_drop_in,
            environment=f"{self.instances}/{name}",
        )

    @property
    def service(self) -> str:
        """The unit that runs the server."""
        return f"ollama@{self.instance}.service" if self.instance else "ollama.service"

    @property
    def instances(self) -> str:
        """Holds the environment of each of several servers, under its name."""
        return "/etc/ollama-fleet/instances"

    @property
    def instance_unit(self) -> str:
        """The template of the units of several servers; system scope only."""
        return "/etc/systemd/system/ollama@.service"

    @property
    def instance_drop_in(self) -> str:
        """What is ours of the units of several servers, read last."""
        return "/etc/systemd/system/ollama@.service.d/zz-fleet.conf"

    @property
    def instance_note(self) -> str:
        """Says which of several servers has which device and port, so that it keeps them."""
        return self.below(self.state, "instances")

    @property
    def task(self) -> str:
        """Name of the scheduled task that runs the server; Windows only."""
        return f"Ollama-{self.instance}" if self.instance else "Ollama"

    @property
    def server_files(self) -> tuple[str, ...]:
        """What the start script leaves beside itself, the server's log first; Windows only."""
        own = f"-{self.instance}" if self.instance else ""
        names = (f"server{own}.log", f"server{own}.out.log", f"started-from{own}")
        return tuple(self.below(self.state, name) for name in names)

    @property
    def server_log(self) -> str:
        """What the server has said; Windows only."""
        return self.server_files[0]

    def of_unit(self, unit: str) -> Layout:
        """That of the server which a unit runs, by what `service` says of it."""
        name = unit.removeprefix("ollama@").removesuffix(".service")
        return self.for_instance(name) if unit.startswith("ollama@") else self

    def below(self, folder: str, name: str) -> str:
        """A path inside a folder, as the host writes paths."""
        separator = "\\" if self.scope == "windows" else "/"
        return f"{folder}{separator}{name}"

    @property
    def root(self) -> str:
        """The folder that holds everything of ours but the models; Windows only."""
        return self.state.rpartition("\\")[0]

    @property
    def apply_holder(self) -> str:
        """Says who holds the lock, which cannot be read while it is held; Windows only."""
        return self.below(self.root, "apply.holder")

    @property
    def resume_hook(self) -> str:
        """What systemd runs when the machine has slept; system scope only."""
        return "/usr/lib/systemd/system-sleep/ollama-fleet"

    @property
    def command_backup(self) -> str:
        """An `ollama` of somebody else that stood where our link is; it stays near, where it finds its libraries."""
        return f"{self.command}.before-fleet"

    @property
    def current(self) -> str:
        """The link to the version in use."""
        return f"{self.releases}/current"

    @property
    def binary(self) -> str:
        """What the service runs."""
        return f"{self.current}/bin/ollama"

    @property
    def unproven(self) -> str:
        """The host as it was before a change that has not passed its gate yet; gone once it has."""
        return self.below(self.state, "unproven")

    @property
    def kept(self) -> str:
        """The host as it was before the last change that passed: what `rollback` goes back to."""
        return self.below(self.state, "previous")

    @property
    def models_before(self) -> str:
        """Manifests and blobs as they were before a change, beside the models so that links can be made."""
        return self.below(self.models, ".fleet-unproven")

    @property
    def supervisor(self) -> str:
        """Script that keeps the server running where there is no systemd."""
        return f"{self.state}/supervise.sh"

    @property
    def apply_lock(self) -> str:
        """Held by the apply that is at work."""
        if self.scope == "windows":
            return self.below(self.root, "apply.lock")
        return "/run/ollama-fleet.lock" if self.scope == "system" else f"{self.state}/apply.lock"

    @property
    def history(self) -> str:
        """Holds a record per apply."""
        return self.below(self.state, "history")

    @property
    def before(self) -> str:
        """Says what was not on the host before the first apply."""
        return self.below(self.state, "before")

    def places(self) -> list[str]:
        """Files, links and directories that are ours or on the way to them, parents first."""
        if self.scope == "windows":
            return self._windows_places()
        own = [
            self.releases,
            self.command,
            self.models,
            f"{self.models}/blobs",
            f"{self.models}/manifests",
            self.state,
            self.service_home,
            f"{self.service_home}/.ollama",
            self.environment,
            self.restart_due,
            self.unit,
            self.drop_in,
            self.profile,
            self.supervisor,
        ]
        if self.scope == "system":
            own += [self.firewall_script, self.firewall_unit]
            own += [self.instances, self.instance_unit, self.instance_drop_in, self.instance_note]
            own.append(self.resume_hook)
        if self.login_profile:
            own.append(self.login_profile)
        found: dict[str, None] = {}
        for place in own:
            parents = [str(parent) for parent in reversed(PurePosixPath(place).parents)]
            found.update(dict.fromkeys(parent for parent in parents if parent not in (".", "~")))
            found[place] = None
        return list(found)

    def _windows_places(self) -> list[str]:
        own = [self.root, self.releases, self.state, self.environment, self.models]
        own += [self.below(self.models, name) for name in ("blobs", "manifests")]
        found: dict[str, None] = {}
        for place in own:
            parents = [str(parent) for parent in reversed(PureWindowsPath(place).parents)]
            found.update(dict.fromkeys(parents[1:]))  # the first is the drive
            found[place] = None
        return list(found)

    @property
    def restart_due(self) -> str:
        """There from the moment that something the server runs is replaced until the server has been restarted."""
        return f"{self.state}/restart-due"

    @property
    def firewall_script(self) -> str:
        """Puts our rules of nftables and iptables in place."""
        return f"{self.state}/firewall.sh"

    @property
    def firewall_unit(self) -> str:
        """Runs that script at boot, after the host's own rules."""
        return "/etc/systemd/system/ollama-fleet-firewall.service"


def on_instance(model: str, instance: str) -> str:
    """Return a model, and where it is one of several servers' which."""
    return f"{model} on {instance}" if instance else model
