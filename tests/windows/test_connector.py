"""`@windows/NAME` against a host: scripts, exit codes, errors, secrets, uploads, default shells."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

from ollama_fleet.planner.windows.quoting import literal
from windows.host import TESTS, WindowsHost

HOSTILE = [
    "it's",
    "’quoted‘",
    'say "x"',
    "%PATH%",
    "$env:USERNAME $(Get-Date)",
    "`n`$x",
    "ends in \\",
    "two\nlines",
    "模型",
]


def drive(host: WindowsHost, *calls: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Make calls through the connector: the answers, and all that was printed for people."""
    data = {
        "ssh_hostname": host.address,
        "ssh_port": host.port,
        "ssh_user": host.user,
        "ssh_key": str(host.key),
        "ssh_strict_host_key_checking": "no",
        "ssh_known_hosts_file": "/dev/null",
    }
    done = subprocess.run(
        [sys.executable, "-m", "windows.drive_connector"],
        cwd=TESTS,
        input=json.dumps({"host": "@windows/desk-7", "data": data, "calls": calls}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr + done.stdout


def value_script(value: str) -> str:
    return f"[Convert]::ToBase64String([Text.Encoding]::UTF8.GetBytes({literal(value)}))"


def test_calls(windows_host: WindowsHost) -> None:
    long = "'" + "长" * 9000 + "'.Length"
    calls: list[dict[str, Any]] = [
        {"script": "'a'; 'b'"},
        {"script": "exit 5", "arguments": {"_success_exit_codes": [5]}},
        {"script": "exit 5"},
        {"script": "throw '磁盘已满'"},
        {"script": long},
        {"script": "[Console]::In.ReadToEnd()", "arguments": {"_stdin": "given"}},
        {"script": "$env:FLEET_X", "arguments": {"_env": {"FLEET_X": "it's %1 模"}}},
        {"script": "'x'", "arguments": {"_sudo": True}},
        {"script": "$null =", "secret": "'hunter2'"},
        {"put": "D:\\new file.txt", "content": "内容\n"},
        {"get": "D:\\new file.txt"},
        *({"script": value_script(value)} for value in HOSTILE),
    ]
    found, printed = drive(windows_host, *calls)
    answers = found["answers"]
    assert found["name"] == "desk-7"
    assert answers[0] == {"ok": True, "stdout": ["a", "b"], "stderr": []}
    assert [answers[1]["ok"], answers[2]["ok"]] == [True, False]
    assert answers[3] == {"ok": False, "stdout": [], "stderr": ["磁盘已满"]}
    assert answers[4]["stdout"] == ["9000"]
    assert "".join(answers[5]["stdout"]) == "given"
    assert answers[6]["stdout"] == ["it's %1 模"]
    assert "sudo is of no use on Windows" in answers[7]["refused"]
    assert answers[8]["ok"]
    assert "hunter2" not in printed
    assert "*MASKED*" in printed
    assert answers[9]["ok"]
    assert windows_host.path("D:\\new file.txt").read_text() == "内容\n"
    assert answers[10]["content"] == "内容\n"
    assert [base64.b64decode(answer["stdout"][0]).decode() for answer in answers[11:]] == HOSTILE
    assert "does not know" not in printed


def test_another_default_shell(windows_host: WindowsHost) -> None:
    host = replace(windows_host, port=windows_host.powershell_port)
    assert host.run("'a' + 'b'").stdout.strip() == "ab"
    found, _ = drive(host, {"script": "'a'"}, {"script": "'" + "x" * 9000 + "'.Length"}, {"script": "exit 4"})
    assert [answer["ok"] for answer in found["answers"]] == [True, True, False]
    assert found["answers"][1]["stdout"] == ["9000"]
