"""A fleet file as the rest of the program sees it."""

from __future__ import annotations

import json
from ipaddress import ip_network
from pathlib import Path

import pytest

from ollama_fleet.spec.errors import SpecErrors
from ollama_fleet.spec.fleet import Fleet, RolloutSpec, load_fleet
from ollama_fleet.spec.forms import Candidate
from ollama_fleet.spec.model_request import ResolvedModel
from ollama_fleet.spec.published import NothingPublished

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))

RACK = """\
version: 1
release: {version: 0.30.2}
defaults:
  listen: 0.0.0.0:11434
  env: {OLLAMA_KEEP_ALIVE: 24h, OLLAMA_FLASH_ATTENTION: true}
  firewall: {allow_from: [192.168.1.0/24, "fd00::/8"]}
  ssh: {user: deploy, key: keys/id}
models:
  small: {from: "qwen3:1.7b", num_ctx: 4096}
  large:
    from: deepseek-r1:32b
    variants: {IQ3_M: "hf.co/o/n:IQ3_M"}
    num_ctx: 8192
    quantization: IQ3_M
    preload: true
    keep_alive: -1
groups:
  rack: {hosts: [b, a], models: [large]}
  late: {hosts: [b], release: {version: 0.24.0}, firewall: {allow_from: [10.0.0.0/8]}}
hosts:
  b: {address: 10.0.0.2, gpus: [rtx-4090, rtx-4090], ssh: {port: 2222}}
  a:
    models: {small: {num_ctx: 100}}
  c: {address: "@local", listen: null, models: [small, large]}
registries:
  mirror.lan:5000: {insecure: true}
"""


@pytest.fixture(scope="module")
def rack() -> Fleet:
    return Fleet.parse(RACK, folder="/work")


def test_hosts_stand_in_the_order_of_the_file(rack: Fleet) -> None:
    assert [host.name for host in rack.hosts] == ["b", "a", "c"]
    assert rack.groups == {"rack": ("b", "a"), "late": ("b",)}
    assert rack.host("b").groups == ("rack", "late")


def test_how_hosts_are_reached(rack: Fleet) -> None:
    b, a, c = rack.hosts
    assert (b.address, b.connector, b.ssh.user, b.ssh.port) == ("10.0.0.2", "ssh", "deploy", 2222)
    assert (a.address, a.ssh.port) == ("a", None)
    assert a.ssh.key == "/work/keys/id"
    assert c.connector == "local"


def test_lists_replace_and_maps_merge(rack: Fleet) -> None:
    assert rack.host("b").allow_from == (ip_network("10.0.0.0/8"),)
    assert rack.host("a").allow_from == (ip_network("192.168.1.0/24"), ip_network("fd00::/8"))
    assert rack.host("b").env == {"OLLAMA_KEEP_ALIVE": "24h", "OLLAMA_FLASH_ATTENTION": "1"}


def test_null_returns_to_the_default(rack: Fleet) -> None:
    assert str(rack.host("c").listen) == "127.0.0.1:11434"
    assert "listen" not in rack.host("c").origin


def test_releases(rack: Fleet) -> None:
    assert str(rack.host("a").release.version) == "0.30.2"
    assert str(rack.host("b").release.version) == "0.24.0"
    assert rack.host("b").origin["release.version"].line == 19
    assert (rack.host("a").release.source, rack.host("a").release.download) == ("upstream", "host")


def test_models_of_groups_and_host_add_up(rack: Fleet) -> None:
    assert [model.name for model in rack.host("a").models] == ["large", "small"]
    assert [model.name for model in rack.host("b").models] == ["large"]
    assert [model.name for model in rack.host("c").models] == ["small", "large"]
    assert rack.host("a").model("small").for_devices([]).num_ctx == 100
    assert rack.host("c").model("small").for_devices([]).num_ctx == 4096


def test_who_asked_for_a_model(rack: Fleet) -> None:
    assert rack.host("a").model("large").asked_at.path == "groups.rack.models[0]"
    assert rack.host("a").model("small").asked_at.line == 23
    assert rack.host("c").model("large").asked_at.path == "hosts.c.models[1]"


def test_a_resolved_model(rack: Fleet) -> None:
    model = rack.host("b").model("large").for_devices(["rtx-4090"])

    assert model.candidates == (Candidate("IQ3_M", "hf.co/o/n:IQ3_M"),)
    assert not model.candidates[0].is_file
    assert not model.left_open
    assert model.from_ == "deepseek-r1:32b"
    assert (model.num_ctx, model.num_ctx_min, model.num_gpu) == (8192, 8192, None)
    assert model.preload
    assert model.keep_alive is not None
    assert model.keep_alive.seconds == -1
    assert model.modelfile == "default"
    assert (model.system, model.template) == (None, None)


CATALOGUE = {"Q4_K_M": "r1:7b", "Q8_0": "r1:7b-q8_0", "F16": "r1:7b-fp16"}


class Catalogue(NothingPublished):
    """One model in three quantisations, whatever is asked."""

    def quantizations(self, base: str) -> dict[str, str]:
        return CATALOGUE


OPEN = """\
version: 1
release: {version: 0.30.2}
models:
  m:
    from: r1:7b
    variants: {IQ3_M: "hf.co/o/n:IQ3_M", q8_0: "hf.co/o/n:Q8_0"}
    quantization: WORD
    num_ctx: 8192
    per_gpu:
      rtx-4090: {quantization: [Q8_0, iq3_m], num_gpu: auto, num_ctx_min: 2048}
      cpu: {num_gpu: 0}
hosts:
  a: {models: [m]}
  b: {models: {m: {num_ctx: 1024, num_ctx_min: 4096, num_gpu: engine}}}
"""


def open_model(word: str, *kinds: str, host: str = "a") -> ResolvedModel:
    fleet = Fleet.parse(OPEN.replace("WORD", word), published=Catalogue())
    return fleet.host(host).model("m").for_devices(kinds)


def test_auto_is_every_quantization_of_catalogue_and_variants_and_variants_come_first() -> None:
    model = open_model("auto", "rtx-3090")

    assert model.candidates == (
        Candidate("Q4_K_M", "r1:7b"),
        Candidate("F16", "r1:7b-fp16"),
        Candidate("IQ3_M", "hf.co/o/n:IQ3_M"),
        Candidate("q8_0", "hf.co/o/n:Q8_0"),
    )
    assert (model.left_open, model.ordered) == (True, False)
    assert (model.num_gpu, model.num_ctx_min) == (None, 8192)


def test_a_list_is_taken_in_its_order() -> None:
    model = open_model("[q8_0, Q4_K_M]", "rtx-3090")

    assert model.candidates == (Candidate("q8_0", "hf.co/o/n:Q8_0"), Candidate("Q4_K_M", "r1:7b"))
    assert (model.left_open, model.ordered) == (True, True)


def test_what_is_left_open_may_differ_per_gpu_and_per_host() -> None:
    on_gpu = open_model("Q4_K_M", "rtx-4090")
    on_cpu = open_model("Q4_K_M")
    on_host = open_model("Q4_K_M", "rtx-4090", host="b")

    assert [candidate.quantization for candidate in on_gpu.candidates] == ["Q8_0", "iq3_m"]
    assert (on_gpu.num_gpu, on_gpu.num_ctx_min, on_gpu.left_open) == ("auto", 2048, True)
    assert on_gpu.origin["num_ctx_min"].line == 10
    assert (on_cpu.num_gpu, on_cpu.left_open) == (0, False)
    # A host that wants less context than the least that is named has that as its least.
    assert (on_host.num_gpu, on_host.num_ctx, on_host.num_ctx_min) == (None, 1024, 1024)


def test_auto_of_a_model_that_comes_in_one_form_is_that_form() -> None:
    text = "version: 1\nrelease: {version: 0.30.2}\nhosts: {a: {models: [m]}}\n"
    text += "models: {m: {from: ./x.gguf, quantization: auto, num_ctx: 10}}\n"
    model = Fleet.parse(text).host("a").model("m").for_devices(["rtx-4090"])

    assert model.candidates == (Candidate(None, "./x.gguf"),)
    assert not model.left_open


def test_defaults_of_what_is_not_said(rack: Fleet) -> None:
    a = rack.host("a")
    assert (a.scope, a.os, a.arch, a.models_dir, a.sudo, a.expose) == (
        "system",
        "linux",
        None,
        None,
        False,
        False,
    )
    assert a.firewall_backend == "auto"
    assert a.gpus == "auto"
    assert rack.prune == "report"
    assert rack.registries["mirror.lan:5000"].insecure


def test_the_group_that_asked_first_is_named_where_the_host_only_overrides() -> None:
    text = RACK.replace("models: {small: {num_ctx: 100}}", "models: {large: {num_ctx: 100}}")

    request = Fleet.parse(text).host("a").model("large")
    assert request.asked_at.path == "groups.rack.models[0]"
    assert request.for_devices([]).num_ctx == 100


def test_release_of_the_fleet_is_below_defaults() -> None:
    text = RACK.replace(
        "defaults:\n", "defaults:\n  release: {version: 0.31.0, source: 'https://mirror.lan/o'}\n"
    )

    release = Fleet.parse(text).host("b").release
    assert (str(release.version), release.source) == ("0.24.0", "https://mirror.lan/o")
    assert str(Fleet.parse(text).host("a").release.version) == "0.31.0"


def test_what_is_exposed_in_so_many_words_may_be_open() -> None:
    text = "version: 1\nrelease: {version: 0.30.2}\nhosts: {a: {listen: '0.0.0.0:11434', expose: true}}\n"

    host = Fleet.parse(text).host("a")
    assert (host.expose, host.allow_from) == (True, ())


def test_a_group_that_cannot_be_read_leads_to_no_other_mistakes_of_its_hosts() -> None:
    text = RACK.replace("\n  firewall: {allow", "\n  #").replace(
        "large]}\n  late", "large], sudo: 1}\n  late"
    )
    text = text.replace("  c: {address", "  c: {expose: true, address")

    with pytest.raises(SpecErrors) as caught:
        Fleet.parse(text)

    assert [error.path for error in caught.value.errors] == ["groups.rack.sudo"]


def test_select_takes_hosts_and_groups_and_keeps_the_order_of_the_file(rack: Fleet) -> None:
    assert [host.name for host in rack.select([])] == ["b", "a", "c"]
    assert [host.name for host in rack.select(["c", "late"])] == ["b", "c"]
    with pytest.raises(SpecErrors, match='"rac" is no host or group; did you mean "rack"'):
        rack.select(["rac"])


def test_a_directory_of_releases_is_fetched_by_the_controller() -> None:
    text = "version: 1\nrelease: {version: 0.30.2, source: 'file:///srv/x'}\nhosts: {a: }\n"

    release = Fleet.parse(text).host("a").release
    assert (release.source, release.download) == ("file:///srv/x", "controller")


def test_a_mistake_in_one_place_does_not_hide_those_in_others() -> None:
    wrong = RACK.replace("gpus: [rtx-4090, rtx-4090]", "gpus: [rtx-4091]").replace("[b, a]", "[b, aa]")
    wrong = wrong.replace("10.0.0.0/8", "0.0.0.0/0").replace("from: deepseek-r1:32b", "form: x")

    with pytest.raises(SpecErrors) as caught:
        Fleet.parse(wrong, ["rtx-4090"])

    assert [error.position.line for error in caught.value.errors if error.position] == [10, 11, 18, 19, 21]


def test_errors_for_programs() -> None:
    with pytest.raises(SpecErrors) as caught:
        Fleet.parse(RACK.replace("qwen3:1.7b", "qwen3@x"), file="dir/fleet.yaml")

    assert json.loads(json.dumps(caught.value.as_json())) == [
        {
            "file": "dir/fleet.yaml",
            "line": 9,
            "column": 17,
            "path": "models.small.from",
            "message": '"qwen3@x" names a digest, which Ollama does not take',
            "hint": "write name and tag; fleet.lock holds the digest",
        }
    ]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_load(path: Path) -> None:
    fleet = load_fleet(path)

    assert fleet.folder == path.parent
    for host in fleet.hosts:
        assert host.models
        for model in host.models:
            kinds = () if host.gpus == "auto" else host.gpus
            assert model.for_devices(kinds).num_ctx > 0


def test_there_are_examples() -> None:
    kinds = {"one-pc", "mixed-rack", "windows-desktops", "cpu-only", "per-gpu-choices"}
    assert {path.stem for path in EXAMPLES} >= kinds


def test_a_hundred_hosts_share_one_mistake_and_it_is_told_once() -> None:
    hosts = "".join(f"  h{n}: {{}}\n" for n in range(100))
    text = f"version: 1\nrelease: {{version: 0.30.2}}\ndefaults: {{listen: '0.0.0.0:1'}}\nhosts:\n{hosts}"

    with pytest.raises(SpecErrors) as caught:
        Fleet.parse(text)

    assert len(caught.value.errors) == 1


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("", RolloutSpec(batch=None, max_failures=0)),
        ("rollout:", RolloutSpec(batch=None, max_failures=0)),
        ("rollout: {}", RolloutSpec(batch=1, max_failures=0)),
        ("rollout: {batch: 4}", RolloutSpec(batch=4, max_failures=0)),
        ("rollout: {batch: null, max_failures: 2}", RolloutSpec(batch=1, max_failures=2)),
    ],
)
def test_rollout(written: str, expected: RolloutSpec) -> None:
    assert (
        Fleet.parse(f"version: 1\nrelease: {{version: 0.30.2}}\nhosts: {{a: }}\n{written}\n").rollout
        == expected
    )
