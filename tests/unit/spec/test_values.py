"""Scalar values: what is taken, in which form, and what is not."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.spec.addresses import parse_address, parse_listen, parse_network
from ollama_fleet.spec.errors import Wrong
from ollama_fleet.spec.names import (
    canonical_model,
    parse_base,
    parse_host_name,
    parse_model_name,
    parse_user,
    pick_base,
)
from ollama_fleet.spec.values import (
    check_text,
    parse_controller_path,
    parse_duration,
    parse_models_dir,
    parse_release_version,
    parse_size,
    parse_url,
)

SOURCES = ("https", "http", "file")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("24h", 86400.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("1500ms", 1.5),
        ("-1", -1.0),
        ("-5m", -300.0),
        ("0", 0.0),
        ("300", 300.0),
        (300, 300.0),
        (-1, -1.0),
        ("2562047h", 2562047 * 3600.0),
    ],
)
def test_duration(text: object, seconds: float) -> None:
    assert parse_duration(text).seconds == pytest.approx(seconds)
    assert str(parse_duration(text)) == str(text)


@pytest.mark.parametrize(
    "text",
    ["", "h", "1 h", "1d", "1h 30m", "h1", "1hh", "--1h", "2562048h", True, 1.5, None, "1h" * 90, "1e3s"],
)
def test_no_duration(text: object) -> None:
    with pytest.raises(Wrong, match=r"duration|292 years"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("24GiB", 24 << 30),
        ("1.5 GiB", 3 << 29),
        ("512MiB", 512 << 20),
        ("0B", 0),
        (17, 17),
        ("1TiB", 1 << 40),
    ],
)
def test_size(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["24GB", "24G", "24gib", "-1GiB", "GiB", True, -1, "9" * 25 + "GiB", "1e3MiB", ""]
)
def test_no_size(text: object) -> None:
    with pytest.raises(Wrong, match="is no size"):
        parse_size(text)


@pytest.mark.parametrize(
    "text", ["0.0.0.0:11434", "127.0.0.1:1", "[::]:65535", "[fd00::1]:11434", "10.1.2.3:80"]
)
def test_listen_is_written_as_it_was_read(text: str) -> None:
    assert str(parse_listen(text)) == text


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.8.0.1:1", True),
        ("[::1]:1", True),
        ("[::]:1", False),
        ("0.0.0.0:1", False),
    ],
)
def test_loopback(text: str, loopback: bool) -> None:
    assert parse_listen(text).is_loopback is loopback


@pytest.mark.parametrize(
    "text",
    [
        "",
        11434,
        "0.0.0.0:0",
        "0.0.0.0:011434",
        "0.0.0.0:+1",
        "0.0.0.0:1 ",
        "0.0.0.0:١",
        "0.0.0.0:65536",
        "256.0.0.1:1",
        "[0.0.0.0]:1",
        "[::]",
        "[::]x:1",
        "[::",
        "[fe80::1%eth0]:1",
        "[::ffff:127.0.0.1]:1",
        "224.0.0.1:1",
        "0.0.0.0:1\n",
        "0.0.0.0:1;id",
    ],
)
def test_no_listen(text: object) -> None:
    with pytest.raises(Wrong):
        parse_listen(text)


@given(st.ip_addresses(), st.integers(1, 65535))
@settings(deadline=None)
def test_listen_reads_every_address(address: IPv4Address | IPv6Address, port: int) -> None:
    text = f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"
    if address.is_multicast or getattr(address, "ipv4_mapped", None):
        with pytest.raises(Wrong, match="is no address to listen on"):
            parse_listen(text)
    else:
        assert str(parse_listen(text)) == text


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.168.1.0/24", "192.168.1.0/24"),
        ("10.0.0.1", "10.0.0.1/32"),
        ("10.0.0.1/32", "10.0.0.1/32"),
        ("fd00::/8", "fd00::/8"),
        ("fd00::1", "fd00::1/128"),
        ("FD00:0::/64", "fd00::/64"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_network(text: str, network: str) -> None:
    assert parse_network(text) == ip_network(network)


@pytest.mark.parametrize(
    "text",
    [
        "10.0.0.1/24",
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/33",
        "10.0.0",
        "10",
        10,
        "fe80::1%eth0",
        "::ffff:10.0.0.1",
        "any",
        "10.0.0.0/8 ",
        "",
        "10.0.0.0/",
    ],
)
def test_no_network(text: object) -> None:
    with pytest.raises(Wrong):
        parse_network(text)


@pytest.mark.parametrize("text", ["10.0.0.1", "gpu-01", "gpu-01.lab.internal", "fd00::1", "@local", "my_box"])
def test_address(text: str) -> None:
    assert parse_address(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-oProxyCommand=x",
        "a b",
        "a;b",
        "a/b",
        "10.0.0.256",
        "1.2.3",
        "a..b",
        "$(id)",
        "@",
        "a\nb",
        5,
        "ä.de",
    ],
)
def test_no_address(text: object) -> None:
    with pytest.raises(Wrong):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/srv/ollama/models", "/srv/ollama/models"),
        ("/srv//ollama/./models/", "/srv/ollama/models"),
        ("/data", "/data"),
        ("/mnt/big disk/模型", "/mnt/big disk/模型"),
    ],
)
def test_models_dir(text: str, path: str) -> None:
    assert parse_models_dir(text) == path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "//",
        "/etc",
        "/etc/ollama",
        "/usr/lib/",
        "/proc/1",
        "/srv/..",
        "/srv/../srv/x",
        "srv",
        "~/models",
        "/a\tb",
        "/a\x00b",
        "/a\nb",
        "/a\x7fb",
        "/a\u202eb",
        "/a\u2028b",
        "/a ",
        "/" + "a" * 256,
        "/a" * 600,
        3,
    ],
)
def test_no_models_dir(text: object) -> None:
    with pytest.raises(Wrong):
        parse_models_dir(text)


@given(st.text(max_size=40))
@settings(deadline=None)
def test_a_path_that_is_taken_is_one_line_below_the_root(text: str) -> None:
    try:
        path = parse_models_dir(f"/srv/{text}")
    except Wrong:
        return
    assert path == "/srv" or path.startswith("/srv/")
    assert path.splitlines() == [path]
    assert ".." not in path.split("/")
    assert "\0" not in path


@pytest.mark.parametrize("text", ["~/.ssh/id_ed25519", "keys/id", "./keys/id", "/home/a/key"])
def test_controller_path(text: str) -> None:
    assert parse_controller_path(text) == text


@pytest.mark.parametrize("text", ["-i", "~root/key", "../key", "a\nb", ""])
def test_no_controller_path(text: str) -> None:
    with pytest.raises(Wrong):
        parse_controller_path(text)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://mirror.lan/ollama", "https://mirror.lan/ollama"),
        ("http://10.0.0.1:8080/files/", "http://10.0.0.1:8080/files"),
        ("http://[fd00::1]:80/x", "http://[fd00::1]:80/x"),
        ("file:///srv/releases/", "file:///srv/releases"),
    ],
)
def test_url(text: str, url: str) -> None:
    assert parse_url(text, SOURCES) == url


@pytest.mark.parametrize(
    "text",
    [
        "mirror.lan/x",
        "ftp://a/b",
        "https://",
        "https:///x",
        "https://u@h/x",
        "https://u:p@h/x",
        "https://h:99999/x",
        "https://h/x?y",
        "https://h/x#y",
        "https://h/a b",
        "https://h/`id`",
        "https://h/$(id)",
        "https://h/'x",
        "file://host/x",
        "file:x",
        "file:///a/../b",
        "https://[::1/x",
        "https://h/\n",
        7,
    ],
)
def test_no_url(text: object) -> None:
    with pytest.raises(Wrong):
        parse_url(text, SOURCES)


def test_versions_sort_with_candidates_before_their_release() -> None:
    texts = ["0.9.0", "0.9.10", "0.30.0-rc2", "0.30.0-rc10", "0.30.0", "1.0.0"]

    versions = [parse_release_version(text) for text in texts]

    assert versions == sorted(versions)
    assert [str(version) for version in versions] == texts


@pytest.mark.parametrize(
    "text", ["0.30", "v0.30.0", "0.30.0-beta", "0.08.9", "0.30.0 ", "../0.9.0", "latest", 0.3, "0.8.9"]
)
def test_no_version(text: object) -> None:
    with pytest.raises(Wrong):
        parse_release_version(text)


@pytest.mark.parametrize(
    "text", ["reasoner", "llama3.1", "team/reasoner:v1", "_x", "a-b_c.d:Q4_K_M", "A" * 80]
)
def test_model_name(text: str) -> None:
    assert parse_model_name(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a b",
        "-a",
        ".a",
        "a/b/c",
        "a:",
        ":a",
        "a:b:c",
        "te.am/a",
        "a\n",
        "A" * 81,
        "ä",
        "a:cloud",
        "a:local",
        3,
        "/a",
    ],
)
def test_no_model_name(text: object) -> None:
    with pytest.raises(Wrong):
        parse_model_name(text)


@pytest.mark.parametrize(
    "text",
    [
        "qwen3",
        "qwen3:8b",
        "org/name:tag",
        "hf.co/bartowski/X-GGUF:IQ3_M",
        "mirror.lan:5000/library/qwen3:8b",
        "mirror.lan:5000/library/qwen3",
        "./models/x.gguf",
        "/srv/x.GGUF",
        "~/x.gguf",
    ],
)
def test_base(text: str) -> None:
    assert parse_base(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "qwen3:",
        "http://h/a/b",
        "a/b/c/d",
        "h:5000/qwen3",
        "a@sha256:00",
        "x.gguf",
        "../x.gguf",
        "./x.bin",
        "a b",
        "qwen3:8b-cloud",
        "qwen3:local",
        "[::1]:5000/a/b",
        "/a\n.gguf",
        "x;id",
        3,
    ],
)
def test_no_base(text: object) -> None:
    with pytest.raises(Wrong):
        parse_base(text)


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("Qwen3", "registry.ollama.ai/library/qwen3:latest"),
        ("qwen3:8B", "registry.ollama.ai/library/qwen3:8b"),
        ("org/x", "registry.ollama.ai/org/x:latest"),
        ("hf.co/org/x:Q4_0", "hf.co/org/x:q4_0"),
        ("h:5000/org/x", "h:5000/org/x:latest"),
    ],
)
def test_canonical_model(name: str, full: str) -> None:
    assert canonical_model(name) == full


def test_quantization_is_found_among_variants_first_then_in_from() -> None:
    variants = {"IQ3_M": "hf.co/o/n:IQ3_M"}

    assert pick_base("a:32b-q8_0", "iq3_m", variants) == "hf.co/o/n:IQ3_M"
    assert pick_base("a:32b-q8_0", "Q8_0", variants) == "a:32b-q8_0"
    assert pick_base("./x-Q4_K_M.gguf", "q4_K_M", {}) == "./x-Q4_K_M.gguf"
    with pytest.raises(Wrong, match='where "a:32b-q4_K_M" is found as "q4_K" is not known'):
        pick_base("a:32b-q4_K_M", "q4_K", {})


NAMES: list[Callable[[object], str]] = [
    parse_host_name,
    parse_user,
    parse_model_name,
    parse_base,
    parse_address,
]


@pytest.mark.parametrize("parse", NAMES)
@given(text=st.text(max_size=20) | st.from_regex(r"[a-z@./~:-]{1,12}[\n;$`'\" ]?[a-z.]{0,6}", fullmatch=True))
def test_no_name_that_is_taken_means_something_to_a_shell(parse: Callable[[object], str], text: str) -> None:
    try:
        name = parse(text)
    except Wrong:
        return
    if not name.startswith(("/", "./", "~/")):
        assert not set(name) & set(" \t\n;&|<>$`'\"\\*?[]{}()!#\0")
        assert not name.startswith("-")


def test_text_may_have_lines_where_lines_are_meant() -> None:
    assert check_text("a\n\tb", lines=True) == "a\n\tb"
    with pytest.raises(Wrong, match=r"U\+000A"):
        check_text("a\nb")
    with pytest.raises(Wrong, match=r"U\+000D"):
        check_text("a\r\nb", lines=True)
