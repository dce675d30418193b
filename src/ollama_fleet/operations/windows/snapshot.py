"""The host as it was before a change, in PowerShell; what `operations/snapshot.py` says of it holds here too.

Copies of the scripts that start servers and of the notes about the releases in use and before, the definitions of
the tasks, the system's variables, hard links of blobs.
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
        make_directory(layout.below(new, "tasks")),
        *_paths(layout),
        "foreach ($path in $paths) {",
        f"  $copy = {literal(new)} + '\\files' + $path.Substring($path.LastIndexOf('\\'))",
        "  if ([IO.File]::Exists($path)) { [IO.File]::Copy($path, $copy) }",
        "}",
        f"foreach ($task in {task.all_tasks()}) {{",
        f"  $xml = Export-ScheduledTask -TaskPath {literal(task.PATH)} -TaskName $task.TaskName",
        f"  $copy = {literal(layout.below(new, 'tasks'))} + '\\' + $task.TaskName",
        "  [IO.File]::WriteAllBytes($copy, [Text.Encoding]::UTF8.GetBytes($xml))",
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
        *_paths(layout, restored),
        "foreach ($path in $paths) {",
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
        *_tasks_as_kept(layout.below(source, "tasks")),
        "if ($was -eq '' -or $was -ne $serving -or $other) {",
        stop_server(),
        *_PUT_TASKS_BACK,
        "}",
        _read("$release", layout.below(source, f"files\\{CURRENT}")),
        "'release ' + $release.Trim()",
        *_LISTENS,
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
    started = f"@(Get-ChildItem -LiteralPath {literal(layout.below(before, 'files'))} -File -Force"
    return [
        remove(layout.models_before),
        f"if (Test-Path -LiteralPath {literal(before)} -PathType Container) {{",
        _read("$was", layout.below(before, f"files\\{CURRENT}")),
        _read("$is", layout.below(layout.releases, CURRENT)),
        f"$there = Test-Path -LiteralPath ({literal(layout.releases)} + '\\' + $was) -PathType Container",
        f"if ($was -eq '') {{ $there = {started} | Where-Object {{ $_.Name -like 'serve*.ps1' }}).Count -gt 0 }}",
        "if ($was -eq $is -or -not $there) {",
        remove(before),
        "} else {",
        remove(layout.below(before, "pid")),
        remove(kept),
        f"Move-Item -LiteralPath {literal(before)} -Destination {literal(kept)}",
        "}",
        "}",
    ]


def _paths(layout: Layout, kept: str = "") -> list[str]:
    """Set `$paths`: what decides how servers run, there or in the folder `kept`. No two have the same file name."""
    notes = (layout.below(layout.releases, name) for name in (CURRENT, PREVIOUS))
    state = literal(layout.state)
    lines = [f"$paths = {array((layout.environment, layout.instance_note, *notes))}"]
    for folder in (state, kept):
        if folder:
            lines += [
                f"foreach ($file in @(Get-ChildItem -LiteralPath {folder} -File -Force |",
                "  Where-Object { $_.Name -like 'serve-*.ps1' })) {",
                f"  $path = {state} + '\\' + $file.Name",
                "  if ($paths -notcontains $path) { $paths += $path }",
                "}",
            ]
    return [
        *lines,
        f"$scripts = @($paths | Where-Object {{ $_ -like {literal('*' + chr(92) + 'serve*.ps1')} }})",
    ]


def _tasks_as_kept(kept: str) -> list[str]:
    """Set `$names` and `$kept` to the tasks and their definitions, and `$other` where there are others by now.

    A snapshot that an earlier version has taken knows of no tasks; then the one of the only server is started.
    """
    return [
        "$names = @()",
        "$kept = @{}",
        f"if (Test-Path -LiteralPath {literal(kept)} -PathType Container) {{",
        f"  foreach ($file in @(Get-ChildItem -LiteralPath {literal(kept)} -File -Force)) {{",
        "    $names += $file.Name",
        "    $kept[$file.Name] = [Text.Encoding]::UTF8.GetString([IO.File]::ReadAllBytes($file.FullName))",
        "  }",
        "} else { $names += 'Ollama' }",
        f"$there = @(foreach ($task in {task.all_tasks()}) {{ $task.TaskName }})",
        "$other = @($names | Where-Object { $there -notcontains $_ }).Count -gt 0",
        "if (@($there | Where-Object { $names -notcontains $_ }).Count -gt 0) { $other = $true }",
    ]


_PUT_TASKS_BACK = (
    "foreach ($name in @($there | Where-Object { $names -notcontains $_ })) {",
    f"  Unregister-ScheduledTask -TaskPath {literal(task.PATH)} -TaskName $name -Confirm:$false",
    "}",
    "foreach ($name in $names) {",
    "  if ($kept[$name]) {",
    f"    Register-ScheduledTask -TaskPath {literal(task.PATH)} -TaskName $name -Xml $kept[$name] -Force | Out-Null",
    "  }",
    f"  Start-ScheduledTask -TaskPath {literal(task.PATH)} -TaskName $name",
    "}",
)
_LISTENS = (
    "$mark = '''OLLAMA_HOST'', '''",
    "foreach ($path in $scripts) {",
    "  if (-not [IO.File]::Exists($path)) { continue }",
    "  $text = [Text.Encoding]::UTF8.GetString([IO.File]::ReadAllBytes($path))",
    "  $at = $text.LastIndexOf($mark)",
    "  if ($at -lt 0) { continue }",
    "  $listen = $text.Substring($at + $mark.Length).Split('''')[0]",
    "  $name = $path.Substring($path.LastIndexOf('\\') + 1).Replace('.ps1', '')",
    "  if ($name -eq 'serve') { 'listen ' + $listen } else { 'instance ' + $name.Substring(6) + ' ' + $listen }",
    "}",
)
"""Print where the servers listen whose scripts are there."""


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
