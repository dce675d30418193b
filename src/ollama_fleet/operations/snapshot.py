"""The host as it was before a change, kept on the host itself until the change has proven itself.

Copies of what is small (unit, drop-in, environment, links), hard links of what is not: a blob that a model loses
stays on the disk as long as there is a link to it. A snapshot that is there already is older and is never
overwritten: it is of the last moment at which the host was known to be well.
"""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote

from ollama_fleet.operations.service import SESSION, restart_lines
from ollama_fleet.operations.windows import snapshot as windows
from ollama_fleet.planner.items.service import Manager
from ollama_fleet.planner.layout import Layout


def paths(layout: Layout) -> tuple[str, ...]:
    """What decides how the server runs, in the order in which the copies are numbered; never change it."""
    several = (layout.instance_unit, layout.instance_drop_in, layout.instance_note)
    return (
        layout.unit,
        layout.drop_in,
        layout.environment,
        layout.supervisor,
        layout.profile,
        layout.current,
        f"{layout.releases}/previous",
        layout.command,
        *(several if layout.scope == "system" else ()),
    )


def take(layout: Layout, manager: Manager) -> list[str]:
    """Lines of sh that take the snapshot, unless there is one of a change that has not ended.

    On Windows these lines, and those of the other functions, are PowerShell.
    """
    if manager == "task":
        return windows.take(layout)
    before, models, aside = quote(layout.unproven), quote(layout.models), quote(layout.models_before)
    return [
        *_session(manager),
        f"if [ ! -d {before} ]; then",
        f'new={quote(f"{layout.unproven}.new")}; rm -rf "$new" {aside}',
        '( umask 077; mkdir -p "$new/files" )',
        f"number=0; for path in {_words(layout)}; do",
        '  if [ -e "$path" ] || [ -L "$path" ]; then cp -a "$path" "$new/files/$number"; fi',
        "  number=$((number + 1))",
        "done",
        f'pid=$({_pid(layout, manager)}); echo "$pid" >"$new/pid"',
        'tr "\\0" "\\n" <"/proc/$pid/environ" 2>/dev/null | sed -n "s/^OLLAMA_HOST=//p" >"$new/listen" || true',
        f'readlink {quote(layout.current)} >"$new/release" || true',
        *(_keep_instances(layout) if layout.scope == "system" else ()),
        f"if [ -d {models}/manifests ]; then",
        f"  ( umask 077; mkdir -p {aside}/blobs )",
        f"  cp -a {models}/manifests {aside}/manifests",
        f'  {_blobs(models)} -exec sh -c \'ln "$@" "$0/"\' {aside}/blobs {{}} + 2>/dev/null ||',
        # No links on this file system: what is large stays where it is.
        f"    {_blobs(models)} -size -2048k -exec cp -a {{}} {aside}/blobs/ \\;",
        "fi",
        f'mv -T "$new" {before}',
        "fi",
    ]


def put_back(
    layout: Layout, manager: Manager, *, created: Sequence[str] = (), snapshot: str | None = None
) -> list[str]:
    """Lines of sh that make the host as in the snapshot, and start the server where another one runs by now.

    They print `nothing` where there is no snapshot, else `release VERSION` and `listen ADDRESS` as they were, and
    `instance NAME ADDRESS` for each of several servers.

    Args:
        layout: of the host.
        manager: who keeps the server running.
        created: manifests below `manifests/` that this run makes; those that were not there before go.
        snapshot: the directory; by default the one of the change under way, which is gone afterwards.
    """
    if manager == "task":
        return windows.put_back(layout, created=created, snapshot=snapshot)
    source = quote(snapshot or layout.unproven)
    lines = [
        *_session(manager),
        f"[ -d {source} ] || {{ echo nothing; exit 0; }}",
        *(_stop_others(layout, source) if layout.scope == "system" else ()),
        f"number=0; for path in {_words(layout)}; do",
        f"  copy={source}/files/$number; number=$((number + 1))",
        '  if [ -e "$copy" ] || [ -L "$copy" ]; then',
        f'    {_link_or_copy("$copy", "$path.fleet-new")}; mv -fT "$path.fleet-new" "$path"',
        '  else rm -f "$path"; fi',
        "done",
    ]
    if snapshot is None:
        lines += _put_models_back(layout, created)
    restarted = f'[ -z "$was" ] || [ "$was" = 0 ] || [ "$({_pid(layout, manager)})" != "$was" ]'
    lines.append(f"was=$(cat {source}/pid 2>/dev/null || true)")
    if layout.scope == "system":
        lines += [*_put_instances_back(layout, source), f"elif {restarted}; then"]
    else:
        lines.append(f"if {restarted}; then")
    lines += [
        *restart_lines(manager, layout),
    ]
    if manager != "supervisor":
        systemctl = "systemctl --user" if manager == "systemd-user" else "systemctl"
        lines += ["else", f"{systemctl} daemon-reload"]
    lines += [
        "fi",
        f'echo "release $(cat {source}/release 2>/dev/null)"',
        f'echo "listen $(cat {source}/listen 2>/dev/null)"',
        f"sed 's/^/instance /' {source}/listens 2>/dev/null || true",
    ]
    if snapshot is None:
        lines.append(f"rm -rf {source} {quote(layout.models_before)} {quote(layout.restart_due)}")
    return lines


def settle(layout: Layout) -> list[str]:
    """Lines of sh for a change that has proven itself: the release before it is kept for a rollback by hand.

    Where the release is the same as before, the one that was kept earlier stays.
    """
    if layout.scope == "windows":
        return windows.settle(layout)
    before, kept, releases = quote(layout.unproven), quote(layout.kept), quote(layout.releases)
    numbers = {path: number for number, path in enumerate(paths(layout))}
    link, command = (f"{before}/files/{numbers[path]}" for path in (layout.current, layout.command))
    return [
        f"rm -rf {quote(layout.models_before)}",
        f"was=$(readlink {link} || true); is=$(readlink {quote(layout.current)} || true)",
        f"if [ ! -d {before} ]; then :",
        # A link that led nowhere was no release; where there was none, the command was somebody else's, or nothing.
        f'elif [ "$was" = "$is" ] || {{ [ -n "$was" ] && [ ! -d {releases}/"$was" ]; }} ||',
        f'  {{ [ -z "$was" ] && [ ! -f {command} ]; }}; then rm -rf {before}',
        f"else rm -f {before}/pid {before}/listen",
        # Which process a unit was is past; that it ran is what counts.
        f"  if [ -f {before}/units ]; then sed -i 's/ [1-9][0-9]* / 1 /' {before}/units; fi",
        f"  rm -rf {kept}; mv -T {before} {kept}",
        "fi",
    ]


def _keep_instances(layout: Layout) -> list[str]:
    """Lines that keep the environments of several servers, which units ran, and where they listened."""
    place = quote(layout.instances)
    return [
        _UNITS.format(instances=place),
        f'if [ -d {place} ]; then cp -a {place} "$new/instances"; fi',
        'units >"$new/units"',
        ': >"$new/listens"',
        f"for file in {place}/*; do",
        "  name=${file##*/}",
        '  pid=$(systemctl show "ollama@$name.service" -p MainPID --value 2>/dev/null) || continue',
        '  [ "${pid:-0}" -gt 0 ] || continue',
        '  listen=$(tr "\\0" "\\n" <"/proc/$pid/environ" 2>/dev/null | sed -n "s/^OLLAMA_HOST=//p")',
        '  echo "$name $listen" >>"$new/listens"',
        "done",
    ]


_UNITS = """units() {{
  for unit in ollama.service $(cd {instances} 2>/dev/null && ls | sed -n 's/^[a-z0-9-]*$/ollama@&.service/p'); do
    echo "$unit $(systemctl show "$unit" -p MainPID --value) $(systemctl show "$unit" -p UnitFileState --value)"
  done
}}"""
"""A function that prints, for the only server and each of several, the unit, its process and whether it is enabled."""


def _stop_others(layout: Layout, source: str) -> list[str]:
    """Lines that find out whether there are, or were, several servers, and stop those that there were not."""
    return [
        _UNITS.format(instances=quote(layout.instances)),
        # One that an earlier version has taken knows of one server alone.
        f"[ -f {source}/units ] || echo 'ollama.service 1 enabled' >{source}/units",
        "several=",
        f"if [ -d {quote(layout.instances)} ] || [ -d {source}/instances ]; then several=yes; fi",
        f'changed=; [ "$(units)" = "$(cat {source}/units)" ] || changed=yes',
        'if [ -n "$several" ]; then',
        "  units | while read -r unit pid enabled; do",
        f'    ! grep -q "^$unit [1-9]" {source}/units || continue',
        '    systemctl disable --quiet "$unit" 2>/dev/null || true',
        '    systemctl stop "$unit" 2>/dev/null || true',
        "  done",
        "fi",
    ]


def _put_instances_back(layout: Layout, source: str) -> list[str]:
    """Lines that put the environments back and start the units that ran; all of it under an `if` left open."""
    place = quote(layout.instances)
    return [
        'if [ -n "$several" ]; then',
        f"  rm -rf {place}",
        f"  if [ -d {source}/instances ]; then cp -a {source}/instances {place}; fi",
        "  systemctl daemon-reload",
        f'  if [ -n "$changed" ] || [ "$(units)" != "$(cat {source}/units)" ]; then',
        "    while read -r unit pid enabled; do",
        '      [ "$enabled" != enabled ] || systemctl enable --quiet "$unit"',
        '      [ "${pid:-0}" -gt 0 ] || continue',
        '      systemctl reset-failed "$unit" 2>/dev/null || true',
        '      systemctl restart "$unit"',
        f"    done <{source}/units",
        "  fi",
    ]


def _put_models_back(layout: Layout, created: Sequence[str]) -> list[str]:
    models, aside = quote(layout.models), quote(layout.models_before)
    new = " ".join(map(quote, created)) or '""'
    return [
        f"if [ -d {aside}/manifests ]; then",
        f"  for blob in {aside}/blobs/sha256-*; do",
        '    [ -e "$blob" ] || continue',
        f"    there={models}/blobs/${{blob##*/}}",
        '    [ -e "$there" ] || ln "$blob" "$there" 2>/dev/null || cp -a "$blob" "$there"',
        "  done",
        f"  for model in {new}; do",
        f'    [ -z "$model" ] || [ -e {aside}/manifests/"$model" ] || rm -f {models}/manifests/"$model"',
        "  done",
        f"  ( cd {aside}/manifests; find . -type f ) | while IFS= read -r model; do",
        f"    there={models}/manifests/$model; copy={aside}/manifests/$model; new={aside}/new",
        '    [ "$(sha256sum <"$copy")" != "$(sha256sum 2>/dev/null <"$there")" ] || continue',
        '    [ -d "${there%/*}" ] || { mkdir -p "${there%/*}"',
        f'      chown -R "$(stat -c %u:%g {models}/manifests)" {models}/manifests; }}',
        f'    {_link_or_copy("$copy", "$new")}; mv -fT "$new" "$there"',
        "  done",
        "fi",
    ]


def _link_or_copy(source: str, target: str) -> str:
    """A disk that has run full has room for a link and none for a copy."""
    return f'{{ cp -al "{source}" "{target}" 2>/dev/null || cp -a "{source}" "{target}"; }}'


def _words(layout: Layout) -> str:
    return " ".join(map(quote, paths(layout)))


def _session(manager: Manager) -> list[str]:
    return [SESSION] if manager == "systemd-user" else []


def _pid(layout: Layout, manager: Manager) -> str:
    """A command that prints the number of the server's process; 0 or nothing where there is none."""
    if manager == "supervisor":
        return f"cat {quote(f'{layout.state}/server.pid')} 2>/dev/null || true"
    user = "--user " if manager == "systemd-user" else ""
    return f"systemctl {user}show ollama.service -p MainPID | sed s/^MainPID=//"


def _blobs(models: str) -> str:
    return f"find {models}/blobs -maxdepth 1 -type f -name 'sha256-*' ! -name '*-partial*'"
