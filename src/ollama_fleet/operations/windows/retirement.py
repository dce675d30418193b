"""Taking everything of ours off a Windows host: one script, which may be run again where it was cut off."""

from __future__ import annotations

from collections.abc import Iterator

from ollama_fleet.operations.windows.script import make_directory, remove, stop_server, unregister_task
from ollama_fleet.operations.windows.startup import kept_link
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.windows.addresses import ANY, rewritten
from ollama_fleet.planner.windows.quoting import array, literal
from ollama_fleet.planner.windows.retirement import WindowsRetirement
from ollama_fleet.planner.windows.state import WindowsRule


def retirement_script(plan: WindowsRetirement) -> str:
    """Return PowerShell that does what the plan says; what says how things were before us goes last."""
    parts = (_locked, _service, _firewall, _variables, _links, _releases, _models, _last)
    return "\n".join(line for part in parts for line in part(plan))


def _locked(plan: WindowsRetirement) -> Iterator[str]:
    lock, holder = literal(plan.layout.apply_lock), literal(plan.layout.apply_holder)
    yield make_directory(plan.layout.root)
    yield f"try {{ $held = [IO.File]::Open({lock}, 'OpenOrCreate', 'ReadWrite', 'None') }} catch {{"
    yield "  $other = ''"
    yield f"  if ([IO.File]::Exists({holder})) {{"
    yield f"    $other = [Text.Encoding]::UTF8.GetString([IO.File]::ReadAllBytes({holder}))"
    yield "  }"
    yield "  throw ('another apply is at work here: ' + $other)"
    yield "}"


def _service(plan: WindowsRetirement) -> Iterator[str]:
    if plan.tasks:
        yield stop_server()
    for name in plan.tasks:
        yield unregister_task(name)


def _firewall(plan: WindowsRetirement) -> Iterator[str]:
    for rule in plan.rules:
        yield f"Remove-NetFirewallRule -Name {literal(rule.name)}"
    for rule in plan.rules_back:
        yield _rule_back(rule)


def _rule_back(rule: WindowsRule) -> str:
    ports = array(rule.ports or (ANY,))
    return (
        f"Set-NetFirewallRule -Name {literal(rule.name)} -NewDisplayName {literal(rule.display)} "
        f"-Description {literal(rule.description)} -Profile {array(sorted(rule.profiles))} -Protocol TCP "
        f"-LocalPort {ports} -RemoteAddress {array(rewritten(rule.sources))} -Enabled {rule.enabled!s}"
    )


def _variables(plan: WindowsRetirement) -> Iterator[str]:
    for name, value in plan.variables.items():
        wanted = "$null" if value is None else literal(value)
        yield f"[Environment]::SetEnvironmentVariable({literal(name)}, {wanted}, 'Machine')"


def _links(plan: WindowsRetirement) -> Iterator[str]:
    """Put back what was put aside, where the user's folder is still there."""
    for link in plan.links:
        kept, folder = literal(kept_link(plan.layout, link)), literal(link.rpartition("\\")[0])
        yield f"if ([IO.File]::Exists({kept}) -and (Test-Path -LiteralPath {folder} -PathType Container)) {{"
        yield f"  Move-Item -LiteralPath {kept} -Destination {literal(link)} -Force"
        yield "}"


def _releases(plan: WindowsRetirement) -> Iterator[str]:
    layout = plan.layout
    for name in (*plan.releases, ".download", "current", "previous"):
        yield remove(layout.below(layout.releases, name))


def _models(plan: WindowsRetirement) -> Iterator[str]:
    layout = plan.layout
    yield remove(layout.models_before)
    if plan.models_whole:
        yield remove(layout.models)
        return
    manifests = layout.below(layout.models, "manifests")
    for stored in plan.models.going:
        path = layout.below(manifests, stored.name.manifest_path.replace("/", "\\"))
        yield remove(path)
        above = path.rpartition("\\")[0]
        while above != manifests:
            yield _remove_empty(above)
            above = above.rpartition("\\")[0]
    for digest in plan.models.blobs:
        yield remove(layout.below(layout.models, f"blobs\\{digest.replace(':', '-')}"))


def _last(plan: WindowsRetirement) -> Iterator[str]:
    layout: Layout = plan.layout
    yield remove(layout.state)
    yield "$held.Close()"
    yield remove(layout.apply_lock)
    yield remove(layout.apply_holder)
    for directory in plan.directories:
        yield _remove_empty(directory)


def _remove_empty(path: str) -> str:
    quoted = literal(path)
    return (
        f"if ((Test-Path -LiteralPath {quoted} -PathType Container) -and "
        f"@(Get-ChildItem -LiteralPath {quoted} -Force).Count -eq 0) {{ Remove-Item -LiteralPath {quoted} -Force }}"
    )
