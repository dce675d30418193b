"""A machine that only asks: a network namespace on one network, where this machine's own programs are run."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from .network import CLIENT, Network
from .process import LabError
from .slot import Slot


@dataclass(frozen=True)
class Client:
    """A client on one of the lab's networks and on no other."""

    slot: Slot
    network: Network

    @property
    def address(self) -> str:
        return self.network.address(CLIENT)

    @property
    def address6(self) -> str:
        return self.network.address6(CLIENT)

    def command(self, argv: Sequence[str]) -> list[str]:
        """`argv` as it is run on that network, with this machine's files."""
        return ["nsenter", f"--net={self.slot.netns_path(self.network.name)}", "--", *argv]

    def run(
        self, argv: Sequence[str], *, check: bool = False, timeout: float = 30
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of this machine there. LabError after `timeout` seconds, or on failure if `check`."""
        try:
            done = subprocess.run(
                self.command(argv),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.network.name}: {shlex.join(argv)}: not done after {timeout:g} s") from None
        if check and done.returncode:
            said = (done.stderr or done.stdout).strip()[-2000:]
            raise LabError(f"{self.network.name}: {shlex.join(argv)}: exit status {done.returncode}: {said}")
        return done
