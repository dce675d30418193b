"""The host as it was before a change, in PowerShell; what `operations/snapshot.py` says of it holds here too.

Copies of the script that starts the server and of the notes about the releases in use and before, the system's
variables, hard links of blobs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ollama_fleet.operations.windows.script import make_directory, remove, stop_server
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.windows import task
from ollama_fleet.planner.windows.quoting import array, literal
from ollama_fleet.probe.windows.release import CURRENT, PREVIOUS

LARGEST_COPY = 2 << 20
"""Bytes of a blob that is copied where the drive has no links; what is larger stays where it is."""
_SERVING = """
$serving = @(Get-CimInstance -ClassName Win32_Process -Filter 'Name = ''ollama.exe''' |
  Where-Object { $_.CommandLine -like '* serve*' } | ForEach-Object { [string]$_.ProcessId }) -join ' '"""
_SAME = "(Get-FileHash -LiteralPath $copy.FullName -Algorithm SHA256).Hash"


def take(layout: Layout) -> list[str]:
    """Lines that take the snapshot, unless there is one of a change that has not ended."""
    before, aside = layout.unproven, layout.models_before
    new = f"{before}.new"
    manifests, blobs = layout.below(layout.models, "manifests"), layout.below(layout.models, "blobs")
    return [
        f"if (-not (Test-Path -LiteralPath {literal(before)} -PathType Container)) {{",
        remove(new),
        remove(aside),
        make_directory(layout.below(new, "files")),
        f"foreach ($path in {_paths(layout)}) {{",
        f"  $copy = {literal(new)} + '\\files' + $path.Substring($path.LastIndexOf('\\'))",
        "  if ([IO.File]::Exists($path)) { [IO.File]::Copy($path, $copy) }",
        "}",
        "$lines = @(foreach ($name in @([Environment]::GetEnvironmentVariables('Machine').Keys)) {",
        "  if ($name -like 'OLLAMA_*') {",
        "    $pair = $name + '=' + [Environment]::GetEnvironmentVariable($name, 'Machine')",
        "    [Convert]::ToBase64String([Text.Encoding]::UTF8.GetBytes($pair))",
        "  }",
        "})",
        _write(layout.below(new, "variables"), "($lines -join ' ')"),
        _SERVING,
        _write(layout.below(new, "pid"), "$serving"),
        f"if (Test-Path -LiteralPath {literal(manifests)} -PathType Container) {{",
        make_directory(layout.below(aside, "blobs")),
        f"Copy-Item -LiteralPath {literal(manifests)} -Destination "
        f"{literal(layout.below(aside, 'manifests'))} -Recurse -Force",
        f"foreach ($blob in @(Get-ChildItem -LiteralPath {literal(blobs)} -File -Force |",
        "  Where-Object { $_.Name -like 'sha256-*' -and $_.Name -notlike '*-partial*' })) {",
        f"  $copy = {literal(layout.below(aside, 'blobs'))} + '\\' + $blob.Name",
        "  & fsutil.exe 'hardlink' 'create' $copy $blob.FullName | Out-Null",
        f"  if ($LASTEXITCODE -ne 0 -and $blob.Length -lt {LARGEST_COPY}) {{ [IO.File]::Copy($blob.FullName, $copy) }}",
        "}",
        "}",
        f"Move-Item -LiteralPath {literal(new)} -Destination {literal(before)}",
        "}",
    ]


def put_back(layout: Layout, *, created: Sequence[str] = (), snapshot: str | None = None) -> list[str]:
    """Lines that make the host as in the snapshot; they print, and arguments are, as for the other hosts'."""
    source = snapshot or layout.unproven
    restored = literal(layout.below(source, "files"))
    lines = [
        f"if (-not (Test-Path -LiteralPath {literal(source)} -PathType Container)) {{ 'nothing'; exit 0 }}",
        f"foreach ($path in {_paths(layout)}) {{",
        f"  $copy = {restored} + $path.Substring($path.LastIndexOf('\\'))",
        "  if ([IO.File]::Exists($copy)) {",
        "    [IO.File]::Copy($copy, $path + '.fleet-new', $true)",
        "    Move-Item -LiteralPath ($path + '.fleet-new') -Destination $path -Force",
        "  } elseif ([IO.File]::Exists($path)) { Remove-Item -LiteralPath $path -Force }",
        "}",
        *_put_variables_back(layout.below(source, "variables")),
    ]
    if snapshot is None:
        lines += _put_models_back(layout, created)
    lines += [
        _read("$was", layout.below(source, "pid")),
        _SERVING,
        "if ($was -eq '' -or $was -ne $serving) {",
        stop_server(),
        f"Start-ScheduledTask -TaskPath {literal(task.PATH)} -TaskName {literal(task.NAME)}",
        "}",
        _read("$release", layout.below(source, f"files\\{CURRENT}")),
        "'release ' + $release.Trim()",
        _read("$text", layout.environment),
        "$mark = '''OLLAMA_HOST'', '''",
        "$at = $text.LastIndexOf($mark)",
        "if ($at -ge 0) { 'listen ' + $text.Substring($at + $mark.Length).Split('''')[0] }",
    ]
    if snapshot is None:
        lines += [remove(source), remove(layout.models_before)]
    return lines


def settle(layout: Layout) -> list[str]:
    """Lines for a change that has proven itself: the release before it is kept for a rollback by hand.

    Where the release is the same as before, the one that was kept earlier stays. Where none of ours was in use, it
    is kept if the task ran what somebody else has installed.
    """
    before, kept = layout.unproven, layout.kept
    started = literal(layout.below(before, f"files\\{layout.environment.rpartition(chr(92))[2]}"))
    return [
        remove(layout.models_before),
        f"if (Test-Path -LiteralPath {literal(before)} -PathType Container) {{",
        _read("$was", layout.below(before, f"files\\{CURRENT}")),
        _read("$is", layout.below(layout.releases, CURRENT)),
        f"$there = Test-Path -LiteralPath ({literal(layout.releases)} + '\\' + $was) -PathType Container",
        f"if ($was -eq '') {{ $there = [IO.File]::Exists({started}) }}",
        "if ($was -eq $is -or -not $there) {",
        remove(before),
        "} else {",
        remove(layout.below(before, "pid")),
        remove(kept),
        f"Move-Item -LiteralPath {literal(before)} -Destination {literal(kept)}",
        "}",
        "}",
    ]


def _paths(layout: Layout) -> str:
    """What decides how the server runs; no two have the same file name."""
    notes = (layout.below(layout.releases, name) for name in (CURRENT, PREVIOUS))
    return array((layout.environment, *notes))


def _put_variables_back(saved: str) -> Iterable[str]:
    yield _read("$text", saved)
    yield "$pairs = @(foreach ($line in $text.Split(' ')) {"
    yield "  if ($line -ne '') { [Text.Encoding]::UTF8.GetString([Convert]::FromBase64String($line)) }"
    yield "})"
    yield "$names = @($pairs | ForEach-Object { $_.Split('=')[0] })"
    yield "foreach ($name in @([Environment]::GetEnvironmentVariables('Machine').Keys)) {"
    yield "  if ($name -like 'OLLAMA_*' -and $names -notcontains $name) {"
    yield "    [Environment]::SetEnvironmentVariable($name, $null, 'Machine')"
    yield "  }"
    yield "}"
    yield "foreach ($pair in $pairs) {"
    yield "  $name = $pair.Split('=')[0]"
    yield "  $value = $pair.Substring($name.Length + 1)"
    yield "  if ([Environment]::GetEnvironmentVariable($name, 'Machine') -cne $value) {"
    yield "    [Environment]::SetEnvironmentVariable($name, $value, 'Machine')"
    yield "  }"
    yield "}"


def _put_models_back(layout: Layout, created: Sequence[str]) -> list[str]:
    manifests, blobs = layout.below(layout.models, "manifests"), layout.below(layout.models, "blobs")
    aside = layout.models_before
    before = layout.below(aside, "manifests")
    new = literal(layout.below(aside, "new"))
    return [
        f"if (Test-Path -LiteralPath {literal(before)} -PathType Container) {{",
        f"foreach ($copy in @(Get-ChildItem -LiteralPath {literal(layout.below(aside, 'blobs'))} -File -Force)) {{",
        f"  $there = {literal(blobs)} + '\\' + $copy.Name",
        "  if (-not [IO.File]::Exists($there)) {",
        "    & fsutil.exe 'hardlink' 'create' $there $copy.FullName | Out-Null",
        "    if ($LASTEXITCODE -ne 0) { [IO.File]::Copy($copy.FullName, $there) }",
        "  }",
        "}",
        f"foreach ($model in {array(path.replace('/', chr(92)) for path in created)}) {{",
        f"  $there = {literal(manifests)} + '\\' + $model",
        f"  if ([IO.File]::Exists($there) -and -not [IO.File]::Exists({literal(before)} + '\\' + $model)) {{",
        "    Remove-Item -LiteralPath $there -Force",
        "  }",
        "}",
        f"foreach ($copy in @(Get-ChildItem -LiteralPath {literal(before)} -Recurse -File -Force)) {{",
        f"  $there = {literal(manifests)} + $copy.FullName.Substring({len(before)})",
        "  $hash = ''",
        "  if ([IO.File]::Exists($there)) {",
        "    $hash = (Get-FileHash -LiteralPath $there -Algorithm SHA256).Hash",
        "  }",
        f"  if ($hash -ne {_SAME}) {{",
        "    [IO.Directory]::CreateDirectory($there.Substring(0, $there.LastIndexOf('\\'))) | Out-Null",
        f"    [IO.File]::Copy($copy.FullName, {new}, $true)",
        f"    Move-Item -LiteralPath {new} -Destination $there -Force",
        "  }",
        "}",
        "}",
    ]


def _read(variable: str, path: str) -> str:
    """Set a variable to a file's text, or to nothing."""
    quoted = literal(path)
    return (
        f"{variable} = ''\nif ([IO.File]::Exists({quoted})) "
        f"{{ {variable} = [Text.Encoding]::UTF8.GetString([IO.File]::ReadAllBytes({quoted})) }}"
    )


def _write(path: str, text: str) -> str:
    return f"[IO.File]::WriteAllBytes({literal(path)}, [Text.Encoding]::UTF8.GetBytes({text}))"
