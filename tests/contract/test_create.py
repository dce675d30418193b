"""/api/create: the layers it makes, byte for byte, and what it inherits."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from contract.registry import Registry
from contract.server import Server, free_port
from contract.stored import config_blob, digest_of, go_json, layer, manifest

pytestmark = pytest.mark.contract

TEMPLATE = "{{ if .System }}<s>{{ .System }}</s>{{ end }}{{ .Prompt }}"


def kinds(document: dict[str, Any]) -> list[str]:
    """The last word of every layer's media type."""
    return [entry["mediaType"].rsplit(".", 1)[1] for entry in document["layers"]]


def blob_of(server: Server, model: str, kind: str) -> bytes:
    """The content of a model's only layer of this kind."""
    entries = [e for e in server.manifest(model)["layers"] if e["mediaType"].endswith("." + kind)]
    assert len(entries) == 1, entries
    return server.blob_path(entries[0]["digest"]).read_bytes()


@pytest.mark.to_0_24
def test_an_imported_gguf_is_the_uploaded_blob(server: Server, weights: Path) -> None:
    digest = server.upload(weights)
    lines = server.create("tiny", files={"tiny.gguf": digest})
    assert [line["status"] for line in lines] == [
        "parsing GGUF",
        f"using existing layer {digest}",
        "writing manifest",
        "success",
    ]
    # The entry says which path the blob had, so the same file has another manifest in another models folder.
    layers = [layer("model", weights.read_bytes(), **{"from": str(server.blob_path(digest))})]
    config = config_blob(layers, llama_server=False)
    assert server.manifest_path("tiny").read_bytes() == manifest(config, layers)
    assert server.blob_path(digest_of(config)).read_bytes() == config


@pytest.mark.from_0_30
def test_an_imported_gguf_is_written_anew(server: Server, weights: Path) -> None:
    digest = server.upload(weights)
    lines = server.create("tiny", files={"tiny.gguf": digest})
    assert lines[0] == {"status": "parsing GGUF"}
    assert {"status": "verifying conversion"} in lines
    (entry,) = server.manifest("tiny")["layers"]
    assert entry["digest"] != digest
    assert "from" not in entry
    assert server.blob_path(digest).exists(), "the upload stays until a later start prunes it"


def test_everything_laid_over_a_base(server: Server, tiny: str) -> None:
    """The layers come in a fixed order, each with the bytes that can be worked out beforehand."""
    parameters = {
        "top_k": 20,
        "num_ctx": 4096,
        "temperature": 0.60,
        "stop": ["<|end|>", "a & b"],
        "use_mmap": False,
    }
    messages = [{"role": "user", "content": 'say "hi" <now>'}, {"role": "assistant", "content": "hi\n"}]
    lines = server.create(
        "made",
        **{"from": tiny},
        template=TEMPLATE,
        system="Be brief.\nAlways. äöü 中文",
        license=["MIT", "Apache"],
        parameters=parameters,
        messages=messages,
    )
    base = server.manifest(tiny)["layers"][0]
    assert [line["status"].partition(" sha256")[0] for line in lines] == [
        "using existing layer",
        *["creating new layer"] * 6,
        "writing manifest",
        "success",
    ]
    encoded = go_json({**parameters, "temperature": 0.6})
    assert encoded == (
        b'{"num_ctx":4096,"stop":["\\u003c|end|\\u003e","a \\u0026 b"],"temperature":0.6,"top_k":20,"use_mmap":false}\n'
    )
    spoken = b'[{"role":"user","content":"say \\"hi\\" \\u003cnow\\u003e"},{"role":"assistant","content":"hi\\n"}]\n'
    layers = [
        {**{k: v for k, v in base.items() if k != "from"}, "from": "tiny:latest"},
        layer("template", TEMPLATE.encode()),
        layer("system", "Be brief.\nAlways. äöü 中文".encode()),
        layer("license", b"MIT"),
        layer("license", b"Apache"),
        layer("params", encoded),
        layer("messages", spoken),
    ]
    config = config_blob(layers, llama_server=server.flavour.llama_server)
    raw = server.manifest_path("made").read_bytes()
    assert raw == manifest(config, layers)
    for content in (encoded, spoken, config, TEMPLATE.encode()):
        assert server.blob_path(digest_of(content)).read_bytes() == content
    assert server.listed()["made:latest"]["digest"] == digest_of(raw).removeprefix("sha256:")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (1.0, "1"),
        (0.1, "0.1"),
        (1048576, "1048576"),
        (1e21, "1e+21"),
        (123456789012345678, "123456789012345680"),
        (1e-7, "1e-7"),
        (0.000001, "0.000001"),
        (-1, "-1"),
        (1.5e300, "1.5e+300"),
        (5e-324, "5e-324"),
        (-0.0, "-0"),
        (True, "true"),
        ("99", '"99"'),
        (["\u2028", "\x01\b\f\t"], r'["\u2028","\u0001\b\f\t"]'),
    ],
)
def test_parameters_are_written_the_way_go_writes_them(
    server: Server, tiny: str, value: Any, text: str
) -> None:
    server.create("made", **{"from": tiny}, parameters={"seed": value})
    assert blob_of(server, "made", "params") == f'{{"seed":{text}}}\n'.encode()


def test_the_same_request_gives_the_same_digest(server: Server, tiny: str) -> None:
    request = {"from": tiny, "parameters": {"num_gpu": 3}, "system": "be brief"}
    server.create("made", **request)
    first = server.manifest_path("made").read_bytes()
    lines = server.create("made", **request)
    assert server.manifest_path("made").read_bytes() == first
    assert not [line for line in lines if "creating new layer" in line["status"]]
    server.create("other", **request)
    assert server.manifest_path("other").read_bytes() == first


def test_parameters_merge_key_by_key_with_the_base(server: Server, tiny: str) -> None:
    server.create("base", **{"from": tiny}, parameters={"num_ctx": 1024, "stop": ["a", "b"], "seed": 7})
    server.create("made", **{"from": "base"}, parameters={"stop": ["c"], "num_gpu": 0})
    assert json.loads(blob_of(server, "made", "params")) == {
        "num_ctx": 1024,
        "stop": ["c"],
        "seed": 7,
        "num_gpu": 0,
    }


def test_a_model_made_from_itself_never_loses_a_parameter(server: Server, tiny: str) -> None:
    server.create("made", **{"from": tiny}, parameters={"seed": 7})
    server.create("made", **{"from": "made"}, parameters={"top_k": 3})
    assert json.loads(blob_of(server, "made", "params")) == {"seed": 7, "top_k": 3}
    server.create("made", **{"from": tiny}, parameters={"top_k": 3})
    assert json.loads(blob_of(server, "made", "params")) == {"top_k": 3}


def test_what_the_request_leaves_out_or_empty_is_the_bases(server: Server, tiny: str) -> None:
    server.create(
        "base",
        **{"from": tiny},
        system="old",
        template=TEMPLATE,
        license="MIT",
        messages=[{"role": "user", "content": "x"}],
        parameters={"seed": 1},
    )
    server.create(
        "made", **{"from": "base"}, system="", template="", messages=[], license=["BSD"], parameters={}
    )
    made = {entry["digest"]: entry for entry in server.manifest("made")["layers"]}
    base = [entry["digest"] for entry in server.manifest("base")["layers"]]
    assert set(base) < set(made)
    assert kinds(server.manifest("made")) == [
        "model",
        "template",
        "system",
        "license",
        "messages",
        "license",
        "params",
    ]
    inherited = [entry for entry in made.values() if entry.get("from") == "base:latest"]
    assert len(inherited) == 5, "parameters are written again even where they stay the same; licenses pile up"


def test_what_is_replaced_moves_to_the_end(server: Server, tiny: str) -> None:
    server.create("base", **{"from": tiny}, system="old", template=TEMPLATE, parameters={"seed": 1})
    server.create("made", **{"from": "base"}, system="new")
    assert kinds(server.manifest("made")) == ["model", "template", "system", "params"]
    server.create("made", **{"from": "base"}, template="{{ .Prompt }}")
    assert kinds(server.manifest("made")) == ["model", "system", "template", "params"]


def test_orphans_of_the_old_manifest_go(server: Server, tiny: str) -> None:
    server.create("made", **{"from": tiny}, system="first")
    old = server.digests("made") - server.digests(tiny)
    server.create("made", **{"from": tiny}, system="second")
    assert not (old - server.digests("made")) & server.stored_digests()


def test_config_keeps_what_the_base_requires(server: Server, tiny: str) -> None:
    server.create("base", **{"from": tiny}, renderer="qwen3-coder", parser="qwen3-coder", requires="0.14.0")
    server.create("made", **{"from": "base"}, requires="0.15.0")
    config = json.loads(server.blob_path(server.manifest("made")["config"]["digest"]).read_bytes())
    assert list(config)[5:8] == ["renderer", "parser", "requires"]
    assert (config["renderer"], config["parser"], config["requires"]) == (
        "qwen3-coder",
        "qwen3-coder",
        "0.15.0",
    )
    assert server.post("/api/show", model="made").json()["requires"] == "0.15.0"


def test_files_and_folders_can_be_read_by_all(server: Server, tiny: str) -> None:
    path = server.manifest_path(tiny)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    for blob in (server.models / "blobs").iterdir():
        assert stat.S_IMODE(blob.stat().st_mode) == 0o644


def test_parameters_are_not_checked_until_they_are_used(server: Server, tiny: str) -> None:
    server.create("made", **{"from": tiny}, parameters={"num_gpu": "99", "no_such_thing": 1})
    answer = server.post("/api/generate", model="made")
    assert (answer.status_code, answer.json()) == (500, {"error": 'option "num_gpu" must be of type integer'})
    server.create("fine", **{"from": tiny}, parameters={"no_such_thing": 1})
    assert server.post("/api/generate", model="fine").json()["done_reason"] == "load"
    assert 'msg="invalid option provided" option=no_such_thing' in server.log


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"model": "made"}, "neither 'from' or 'files' was specified"),
        ({"model": "made", "from": "-bad-"}, "invalid model name"),
        ({"model": "made", "files": {"/etc/passwd": "sha256:" + "0" * 64}}, "file path must be relative"),
        ({"model": "made", "files": {"../x": "sha256:" + "0" * 64}}, "file path must be relative"),
        ({"model": "made", "files": {"x.gguf": ""}}, "invalid digest format"),
        ({"model": "made", "files": {"x": "sha256:" + "0" * 64}}, "unknown type"),
        ({"model": "made", "from": "tiny", "template": "{{ .Prompt"}, "template error: template"),
        ({"model": "made", "from": "tiny", "license": [1]}, "json: cannot unmarshal"),
    ],
)
def test_requests_that_cannot_be_met(server: Server, tiny: str, body: dict[str, Any], words: str) -> None:
    answer = server.post("/api/create", **body)
    assert answer.status_code in (400, 500)
    assert answer.json()["error"].startswith(words)
    assert list(server.listed()) == ["tiny:latest"]


@pytest.mark.parametrize("body", [b"", b"  ", b"{", b"nonsense", b"[]", b'{"model": 5}'])
def test_bodies_that_cannot_be_read(server: Server, body: bytes) -> None:
    for path in ("/api/create", "/api/pull", "/api/generate", "/api/show"):
        answer = server.http.post(path, content=body)
        assert answer.status_code == 400, path
        assert list(answer.json()) == ["error"]


def test_a_field_of_the_wrong_type_is_400(server: Server) -> None:
    for path in ("/api/create", "/api/pull", "/api/generate", "/api/chat"):
        assert server.post(path, model="a", stream="no").status_code == 400, path


def test_a_missing_body_is_named(server: Server) -> None:
    assert server.http.post("/api/create").json() == {"error": "missing request body"}


def test_a_file_that_was_not_sent(server: Server) -> None:
    digest = "sha256:" + "0" * 64
    lines = server.lines("/api/create", model="made", files={"x.gguf": digest})
    assert lines[0] == {"status": "parsing GGUF"}
    assert lines[-1] == {"error": f"open {server.blob_path(digest)}: no such file or directory"}


def test_a_file_that_is_no_gguf(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"not a model at all")
    lines = server.lines("/api/create", model="made", files={"x.gguf": server.upload(path)})
    assert "error" in lines[-1]
    assert server.listed() == {}


def test_an_unknown_base_is_pulled_and_the_failure_is_in_the_stream(server: Server) -> None:
    base = f"127.0.0.1:{free_port()}/library/nobody:1b"
    lines = server.lines("/api/create", model="made", **{"from": base}, parameters={"seed": 1})
    assert lines[0] == {"status": "pulling manifest"}
    host, _, rest = base.partition("/library/")
    url = f"https://{host}/v2/library/{rest.replace(':', '/manifests/')}"
    words = f'pull model manifest: Get "{url}": dial tcp {host}: connect: connection refused'
    assert lines[-1] == {"error": words}
    assert server.listed() == {}


def test_without_a_stream_an_unknown_base_is_500(server: Server) -> None:
    base = f"127.0.0.1:{free_port()}/library/nobody"
    answer = server.post("/api/create", model="made", **{"from": base}, stream=False)
    assert answer.status_code == 500
    assert answer.json()["error"].startswith("pull model manifest: Get ")


def test_a_base_is_never_pulled_over_plain_http(server: Server, registry: Registry, weights: Path) -> None:
    registry.add("library/tiny:latest", weights.read_bytes())
    lines = server.lines("/api/create", model="made", **{"from": registry.name("library/tiny")})
    assert lines[-1]["error"].endswith("http: server gave HTTP response to HTTPS client")


def test_without_a_stream_the_last_line_is_the_answer(server: Server, tiny: str) -> None:
    answer = server.post("/api/create", model="made", **{"from": tiny}, stream=False)
    assert (answer.status_code, answer.json()) == (200, {"status": "success"})
    assert answer.headers["content-type"].startswith("application/json")


def test_progress_is_lines_of_json(server: Server, tiny: str) -> None:
    answer = server.post("/api/create", model="made", **{"from": tiny})
    assert answer.headers["content-type"] == "application/x-ndjson"


def test_quantising_wants_an_unquantised_source(server: Server, tmp_path: Path) -> None:
    from lab.tiny_gguf import tiny_gguf

    source = tiny_gguf(tmp_path / "q8.gguf", quantization="Q8_0")
    server.create("q8", files={"q8.gguf": server.upload(source)})
    answer = server.post("/api/create", model="made", **{"from": "q8"}, quantize="q4_K_M")
    words = "quantization is only supported for F16, BF16 and F32 models"
    assert (answer.status_code, answer.json()) == (500, {"error": words})


def test_only_some_quantisations_can_be_made(server: Server, tiny: str) -> None:
    answer = server.post("/api/create", model="made", **{"from": tiny}, quantize="IQ3_M")
    assert answer.status_code == 500
    assert answer.json()["error"].startswith("unsupported quantization type IQ3_M - supported types are ")


def test_quantising_makes_another_blob_and_says_so(server: Server, tiny: str) -> None:
    lines = server.create("made", **{"from": tiny}, quantize="q8_0")
    assert {"status": "verifying conversion"} in lines
    made, base = server.manifest("made")["layers"][0], server.manifest(tiny)["layers"][0]
    assert made["digest"] != base["digest"]
    assert server.listed()["made:latest"]["details"]["quantization_level"] == "Q8_0"
