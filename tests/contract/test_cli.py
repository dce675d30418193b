"""The command line, as far as people and scripts lean on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.registry import Registry
from contract.server import Flavour, Server, environment, free_port

pytestmark = pytest.mark.contract


def test_version_with_a_server(server: Server) -> None:
    said = server.cli("--version")
    assert (said.returncode, said.stdout) == (0, f"ollama version is {server.flavour.version}\n")
    assert server.cli("-v").stdout == said.stdout


def test_version_without_a_server(flavour: Flavour, tmp_path: Path) -> None:
    said = flavour.run("--version", env=environment(tmp_path, OLLAMA_HOST=f"127.0.0.1:{free_port()}"))
    assert said.returncode == 0
    assert said.stdout == (
        f"Warning: could not connect to a running Ollama instance\nWarning: client version is {flavour.version}\n"
    )


def test_list(server: Server, tiny: str) -> None:
    said = server.cli("list")
    head, row = said.stdout.splitlines()
    assert head.split() == ["NAME", "ID", "SIZE", "MODIFIED"]
    digest = server.listed()["tiny:latest"]["digest"]
    assert row.split()[:4] == ["tiny:latest", digest[:12], "237", "KB"]
    assert row.rstrip().endswith(("ago", "second"))
    assert server.cli("ls", "zzz").stdout.split() == ["NAME", "ID", "SIZE", "MODIFIED"]


def test_ps(server: Server, tiny: str) -> None:
    server.post("/api/generate", model=tiny, keep_alive="4h", options={"num_ctx": 256})
    head, row = server.cli("ps").stdout.splitlines()
    assert head.split() == ["NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"]
    assert row.split()[0] == "tiny:latest"
    assert " 100% CPU " in row
    assert " 256 " in row
    assert row.rstrip().endswith("from now")


def test_ps_of_a_model_that_stays(server: Server, tiny: str) -> None:
    server.post("/api/generate", model=tiny, keep_alive=-1)
    assert server.cli("ps").stdout.splitlines()[1].rstrip().endswith("Forever")


def test_create_from_a_modelfile(server: Server, tiny: str, tmp_path: Path) -> None:
    """The command line makes the same model as the API does."""
    (tmp_path / "Modelfile").write_text(
        'FROM tiny\n# a remark\nPARAMETER temperature 0.6\nparameter num_ctx 4096\nPARAMETER stop "<a>"\n'
        'PARAMETER stop b\nSYSTEM """Be "brief".\nAlways."""\nTEMPLATE {{ .Prompt }}!\n'
        "MESSAGE user hello there\nLICENSE MIT\n"
    )
    said = server.cli("create", "by-hand", "-f", str(tmp_path / "Modelfile"))
    assert said.returncode == 0, said.stderr
    server.create(
        "by-api",
        **{"from": "tiny"},
        parameters={"temperature": 0.6, "num_ctx": 4096, "stop": ["<a>", "b"]},
        system='Be "brief".\nAlways.',
        template="{{ .Prompt }}!",
        messages=[{"role": "user", "content": "hello there"}],
        license=["MIT"],
    )
    assert server.manifest_path("by-hand").read_bytes() == server.manifest_path("by-api").read_bytes()


def test_create_from_a_file_beside_the_modelfile(server: Server, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(weights.read_bytes())
    (tmp_path / "Modelfile").write_text("FROM ./m.gguf\n")
    said = server.cli("create", "imported", "-f", str(tmp_path / "Modelfile"))
    assert said.returncode == 0, said.stderr
    assert list(server.listed()) == ["imported:latest"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SYSTEM hi\n", "no FROM line"),
        ("FROM tiny\nNONSENSE x\n", "(line 2): command must be one of "),
        ("FROM tiny\nPARAMETER nonsense 1\n", "unknown parameter 'nonsense'"),
        ("FROM tiny\nPARAMETER num_ctx many\n", "invalid int value [many]"),
        ("FROM tiny\nMESSAGE nobody hi\n", "(line 2): message role must be one of "),
        ('FROM tiny\nSYSTEM """open\n', "unexpected EOF"),
    ],
)
def test_modelfiles_that_cannot_be(server: Server, tiny: str, tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "Modelfile").write_text(text)
    said = server.cli("create", "made", "-f", str(tmp_path / "Modelfile"))
    assert said.returncode == 1
    assert f"Error: {words}" in said.stderr
    assert list(server.listed()) == ["tiny:latest"]


def test_a_modelfile_that_is_not_there(server: Server, tmp_path: Path) -> None:
    said = server.cli("create", "made", "-f", str(tmp_path / "nothing"))
    assert said.returncode == 1
    assert "Error: no Modelfile or safetensors files found" in said.stderr


def test_pull(server: Server, registry: Registry, weights: Path) -> None:
    registry.add("library/tiny:latest", weights.read_bytes())
    name = registry.name("library/tiny:latest")
    refused = server.cli("pull", name)
    assert refused.returncode == 1
    assert "server gave HTTP response to HTTPS client" in refused.stderr
    assert server.cli("pull", "--insecure", name).returncode == 0
    assert list(server.listed()) == [name]


def test_copy_and_remove(server: Server, tiny: str) -> None:
    assert server.cli("cp", "tiny", "twin").stdout == "copied 'tiny' to 'twin'\n"
    server.post("/api/generate", model="twin")
    assert server.cli("rm", "twin").stdout == "deleted 'twin'\n"
    server.wait_unloaded()
    assert list(server.listed()) == ["tiny:latest"]
    gone = server.cli("rm", "twin")
    assert gone.returncode == 1
    assert "model 'twin' not found" in gone.stderr


def test_stop(server: Server, tiny: str) -> None:
    server.post("/api/generate", model=tiny)
    assert server.cli("stop", "tiny").returncode == 0
    server.wait_unloaded()
    unknown = server.cli("stop", "nobody")
    assert unknown.returncode == 1
    assert 'couldn\'t find model "nobody" to stop' in unknown.stderr


def test_run_answers_one_prompt(server: Server, tiny: str) -> None:
    server.create("short", **{"from": tiny}, parameters={"num_predict": 3})
    said = server.cli("run", "short", "hello", "--keepalive", "10m")
    assert said.returncode == 0, said.stderr
    assert said.stdout.endswith("\n")
    assert list(server.running()) == ["short:latest"]


def test_show_prints_one_part(server: Server, tiny: str) -> None:
    server.create("made", **{"from": tiny}, system="be brief")
    assert server.cli("show", "made", "--system").stdout.strip() == "be brief"
    assert "# FROM made:latest" in server.cli("show", "made", "--modelfile").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["nonsense"], 'unknown command "nonsense" for "ollama"'), (["pull"], "accepts 1 arg(s), received 0")],
)
def test_wrong_command_lines(flavour: Flavour, tmp_path: Path, arguments: list[str], words: str) -> None:
    said = flavour.run(*arguments, env=environment(tmp_path))
    assert (said.returncode, said.stderr) == (1, f"Error: {words}\n")


def test_no_server(flavour: Flavour, tmp_path: Path) -> None:
    said = flavour.run("list", env=environment(tmp_path, OLLAMA_HOST=f"127.0.0.1:{free_port()}"))
    assert said.returncode == 1
    assert "could not connect to ollama server, run 'ollama serve' to start it" in said.stderr
