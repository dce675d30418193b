"""States of hosts, to hold plans against."""

from __future__ import annotations

from dataclasses import replace

from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.state import Account, HostState, Platform

SYSTEM = Layout.of("system")
PLATFORM = Platform(
    architecture="x86_64",
    distribution="debian",
    user="root",
    group="root",
    uid=0,
    home="/root",
    tools=frozenset({"curl", "tar", "zstd"}),
    systemd=True,
    user_manager=False,
    lingering=False,
    polkit=False,
)
OLLAMA = Account("ollama", 999, "ollama", frozenset({"video"}), "/usr/share/ollama")
FRESH = HostState(PLATFORM, groups=frozenset({"video"}))
"""A machine on which nothing of ours is."""
STUDENT = replace(
    FRESH, platform=replace(PLATFORM, user="student", group="students", uid=1001, home="/home/student")
)
