"""The test host is what it says: real where Wine is, loud where nothing is."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from windows.host import WindowsHost
from windows.powershell import parse


@pytest.fixture(autouse=True)
def gaps_are_meant(windows_host: WindowsHost) -> Iterator[None]:
    """These tests ask for what is not there; others must not stumble over it."""
    yield
    windows_host.meant = windows_host.mark()


KEY = r"HKLM\SYSTEM\CurrentControlSet\Control\Session Manager\Environment"


def test_cmd_and_registry_are_real(windows_host: WindowsHost) -> None:
    done = windows_host.run(
        f'reg add "{KEY}" /v FLEET_TEST /t REG_SZ /d "a b & c" /f && reg query "{KEY}" /v FLEET_TEST'
    )
    assert done.returncode == 0, done
    assert "REG_SZ    a b & c" in done.stdout
    assert windows_host.run(f'reg query "{KEY}" /v NOT_THERE').returncode == 1
    assert (
        windows_host.powershell("[Environment]::GetEnvironmentVariable('FLEET_TEST', 'Machine')").strip()
        == "a b & c"
    )


@pytest.mark.parametrize("line", ["setx A b", "netsh advfirewall show", "dir & tasklist", "schtasks /query"])
def test_what_wine_only_pretends_fails(windows_host: WindowsHost, line: str) -> None:
    done = windows_host.run(line)
    assert done.returncode == 250, done
    assert "does not know" in done.stderr


@pytest.mark.parametrize(
    "script",
    [
        "Get-NetFirewallRule -Unheard x",
        "Restart-Computer",
        "'a' -match 'b'",
        "[IO.File]::AppendAllText('C:\\x', 'y')",
        "if ($true) { 'a'",
        "try { Invoke-Nothing } catch { }",
        "@{a = @{b = @{c = @{d = 1}}}} | ConvertTo-Json",
    ],
)
def test_what_the_stand_in_does_not_know_fails(windows_host: WindowsHost, script: str) -> None:
    with pytest.raises(AssertionError, match="does not know"):
        windows_host.powershell(script)


def test_scripts_behave(windows_host: WindowsHost) -> None:
    script = """
    $list = @('b', 'A')
    $one = @('x' | Where-Object { $_ -eq 'X' })
    $h = @{ n = 0; inner = @{ list = $list } }
    foreach ($item in $list) {
        $h.n += 1; if ($item -eq 'a') { $h.found = $item } elseif ($item -eq 'z') { throw 'no' }
    }
    try { Get-Item -LiteralPath 'C:\\nowhere' } catch { $h.error = $_.Exception.Message }
    $h.none = (Get-Item -LiteralPath 'C:\\nowhere' -ErrorAction SilentlyContinue).Length
    $h.count = $one.Count
    ConvertTo-Json -InputObject $h -Compress -Depth 5
    """
    assert windows_host.powershell(script).strip() == (
        '{"n":2,"inner":{"list":["b","A"]},"found":"A",'
        '"error":"Cannot find path \'C:\\\\nowhere\' because it does not exist.","none":null,"count":1}'
    )


def test_exit_codes(windows_host: WindowsHost) -> None:
    assert windows_host.run("exit /b 7").returncode == 7
    with pytest.raises(AssertionError, match="returncode=3"):
        windows_host.powershell("exit 3")


def test_ports_of_the_host_are_reached_through_it(windows_host: WindowsHost) -> None:
    import paramiko

    with socket.create_server(("127.0.0.1", 0)) as server, paramiko.SSHClient() as client:

        def greet() -> None:
            connection, _ = server.accept()
            connection.sendall(b"hello")
            connection.close()

        threading.Thread(target=greet, daemon=True).start()
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        client.connect(
            windows_host.address, windows_host.port, windows_host.user, key_filename=str(windows_host.key)
        )
        transport = client.get_transport()
        assert transport is not None
        channel = transport.open_channel("direct-tcpip", server.getsockname(), ("127.0.0.1", 0))
        assert channel.recv(5) == b"hello"


def test_syntax_errors_are_found() -> None:
    for script in ("$a = ", "@('a'", "'a", "if {", "foreach ($a of $b) { }"):
        with pytest.raises(SyntaxError):
            parse(script)
