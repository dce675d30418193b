"""The one command of an examination in PowerShell; it prints what the shell's prints on the other hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.windows.quoting import array, literal
from ollama_fleet.probe.read import MARKER
from ollama_fleet.probe.request import ProbeRequest
from ollama_fleet.probe.windows import read

TRY_SECONDS = 8
"""For each address that is tried."""


def script(
    layout: Layout, port: int, urls: Sequence[str], names: Sequence[str], proxies: Mapping[str, str]
) -> str:
    """Return the script; it succeeds whatever it finds.

    Args:
        layout: of the host.
        port: that the server is to listen on.
        urls: that an apply will fetch from.
        names: those in the urls that must have an address.
        proxies: variables that the fetching goes by.
    """
    lines = [
        "$identity = [Security.Principal.WindowsIdentity]::GetCurrent()",
        "$principal = New-Object -TypeName Security.Principal.WindowsPrincipal -ArgumentList $identity",
        "'user ' + [string]$identity.Name",
        "if ($principal.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)) { 'uid 0' }",
        "else { 'uid 1000' }",
        "'time ' + [string][DateTimeOffset]::UtcNow.ToUnixTimeSeconds()",
        "'listens'",
        f"foreach ($id in @(Get-NetTCPConnection -State Listen -LocalPort {port} -ErrorAction SilentlyContinue |",
        "  ForEach-Object { [string]$_.OwningProcess })) {",
        "  $process = Get-CimInstance -ClassName Win32_Process -Filter ('ProcessId = ' + $id)",
        "  'listener users:((\"' + $process.Name + '\",pid=' + $id + ',fd=0))'",
        "}",
    ]
    lines += [
        f"[Environment]::SetEnvironmentVariable({literal(name)}, {literal(value)})"
        for name, value in proxies.items()
    ]
    if names and not proxies:  # behind a proxy the proxy asks for names
        lines += [
            f"foreach ($name in {array(names)}) {{",
            "  try { $found = [Net.Dns]::GetHostAddresses($name) } catch { 'unresolved ' + $name }",
            "}",
        ]
    if urls:
        # What curl complains about comes on its standard output, too: the other one would end the script.
        words = f"'-sSIL' '--stderr' '-' '-o' 'NUL' '-m' '{TRY_SECONDS}' '-w' ' %{{http_code}}'"
        lines += [
            "if (Get-Command curl.exe -ErrorAction SilentlyContinue) {",
            f"  foreach ($url in {array(urls)}) {{",
            f"    $said = @(& curl.exe {words} $url)",
            "    'reached ' + [string]$LASTEXITCODE + ' ' + $url + ' ' + ($said -join ' ')",
            "  }",
            "} else { 'no curl' }",
        ]
    return "\n".join([*lines, f"'{MARKER} begin'", read.script(ProbeRequest(layout))])
