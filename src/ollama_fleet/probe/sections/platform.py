"""The machine and the account that the connection uses there."""

from __future__ import annotations

from ollama_fleet.planner.state import Platform
from ollama_fleet.probe.request import ProbeRequest
from ollama_fleet.probe.shell import words

TOOLS = (
    "curl",
    "wget",
    "zstd",
    "tar",
    "gzip",
    "ufw",
    "nft",
    "apt-get",
    "dnf",
    "zypper",
    "pacman",
    "apk",
    "crontab",
)


def script(request: ProbeRequest) -> str:
    """Print one `key value` line per fact."""
    return f"""
echo "architecture $(uname -m)"
[ -r /etc/os-release ] && echo "distribution $(. /etc/os-release; echo "$ID")"
echo "user $(id -un)"
echo "group $(id -gn)"
echo "uid $(id -u)"
echo "home $HOME"
[ -d /run/systemd/system ] && echo systemd
# The account's systemd reads units from the account's own home, wherever $HOME points now.
[ -S "$XDG_RUNTIME_DIR/systemd/private" ] && [ "$HOME" = "$(getent passwd "$(id -u)" | cut -d: -f6)" ] &&
  echo user_manager
[ -e "/var/lib/systemd/linger/$(id -un)" ] && echo lingering
{{ [ -x /usr/lib/polkit-1/polkitd ] || [ -x /usr/libexec/polkitd ]; }} && echo polkit
for tool in {words(TOOLS)}; do command -v $tool >/dev/null 2>&1 && echo "tool $tool"; done
"""


def parse(lines: list[str]) -> Platform:
    """Read the `key value` lines. Raises KeyError where a fact that always exists is missing."""
    facts: dict[str, str] = {}
    tools = set()
    for line in lines:
        key, _, value = line.partition(" ")
        if key == "tool":
            tools.add(value)
        else:
            facts[key] = value
    return Platform(
        architecture=facts["architecture"],
        distribution=facts.get("distribution", ""),
        user=facts["user"],
        group=facts["group"],
        uid=int(facts["uid"]),
        home=facts["home"],
        tools=frozenset(tools),
        systemd="systemd" in facts,
        user_manager="user_manager" in facts,
        lingering="lingering" in facts,
        polkit="polkit" in facts,
    )
