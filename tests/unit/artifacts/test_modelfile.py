from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.artifacts.modelfile import Message, ModelfileError, parse_modelfile, quote

COMPLETE = '''\
# A comment may hold anything: \u200d
FROM deepseek-r1:32b
parameter num_gpu 60
PARAMETER temperature 0.6
PARAMETER use_mmap false
PARAMETER stop "<|User|>"
PARAMETER stop <|Assistant|>
PARAMETER seed -1
TEMPLATE """{{ .System }}
{{ .Prompt }}"""
SYSTEM You are a "careful" engineer. # no comment
MESSAGE user hello
MESSAGE assistant """
first line
"""
LICENSE MIT
License """Apache"""
RENDERER qwen3-coder
PARSER qwen3-coder
REQUIRES v0.14.0
'''


def parse(text: str) -> Any:
    return parse_modelfile(text, source="test.Modelfile")


def test_every_directive_is_read() -> None:
    model = parse(COMPLETE)
    assert model.from_ == "deepseek-r1:32b"
    assert model.parameters == {
        "num_gpu": 60,
        "temperature": 0.6,
        "use_mmap": False,
        "stop": ["<|User|>", "<|Assistant|>"],
        "seed": -1,
    }
    assert model.template == "{{ .System }}\n{{ .Prompt }}"
    assert model.system == 'You are a "careful" engineer. # no comment'
    assert model.messages == (Message("user", "hello"), Message("assistant", "\nfirst line\n"))
    assert model.licenses == ("MIT", "Apache")
    assert (model.renderer, model.parser, model.requires) == ("qwen3-coder", "qwen3-coder", "0.14.0")


def test_directives_keep_their_lines() -> None:
    model = parse(COMPLETE)
    assert model.line_of("FROM") == 2
    assert model.line_of("PARAMETER", "num_gpu") == 3
    assert model.line_of("SYSTEM") == 11
    assert model.line_of("PARAMETER", "num_ctx") is None


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_are_counted_whatever_ends_them(newline: str) -> None:
    text = newline.join(["FROM m", "", "  SYSTEM x", "FOO"])
    with pytest.raises(ModelfileError, match=re.escape("test.Modelfile:4:1: unknown command")):
        parse(text)
    assert [(found.line, found.column) for found in parse(text.removesuffix("FOO")).directives] == [
        (1, 1),
        (3, 3),
    ]


def test_the_request_has_what_the_file_has_and_nothing_else() -> None:
    assert parse("FROM m").create_request("mine", "base:1") == {"model": "mine", "from": "base:1"}
    request = parse(COMPLETE).create_request("mine", "base:1")
    assert request["license"] == ["MIT", "Apache"]
    assert request["messages"][0] == {"role": "user", "content": "hello"}
    assert request["requires"] == "0.14.0"
    assert set(request) == {
        *("model", "from", "license", "messages", "parameters"),
        *("template", "system", "renderer", "parser", "requires"),
    }


def test_an_adapter_needs_the_digests_of_its_files() -> None:
    model = parse("FROM m\nADAPTER ./lora.gguf")
    with pytest.raises(ValueError, match="ADAPTER"):
        model.create_request("mine", "m")
    digest = f"sha256:{'a' * 64}"
    assert model.create_request("mine", "m", {"lora.gguf": digest})["adapters"] == {"lora.gguf": digest}


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("plain", "plain"),
        ("  blanks around \t", "blanks around"),
        ("'single'", "'single'"),
        ('"quoted"', "quoted"),
        ('" kept "  ', " kept "),
        ('"two\nlines"', "two\nlines"),
        ('"""three"""', "three"),
        ('"""a "b" c"""', 'a "b" c'),
        ('"""ends with a quote""""', 'ends with a quote"'),
        ('"say "hi" now"', 'say "hi" now'),
        # Quotes end a text only at the end of a line, so this one goes on.
        ('"a" b\nc"', 'a" b\nc'),
        ('"""a""" b\nc"""', 'a""" b\nc'),
        ("a # b", "a # b"),
        ("中文，é 😀", "中文，é 😀"),
        ('"tab\there"', "tab\there"),
        ('"\r\n"', "\r\n"),
    ],
)
def test_values_end_where_ollama_ends_them(value: str, read: str) -> None:
    assert parse(f"FROM m\nSYSTEM {value}\nLICENSE after").system == read
    assert parse(f"FROM m\nSYSTEM {value}").system == read


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("", "1:1", "no FROM"),
        ("SYSTEM x", "1:1", "no FROM"),
        ("FROM", "1:5", "FROM has no value"),
        ("FROM\nx", "1:5", "FROM has no value"),
        ("FROM  ", "1:1", "FROM is empty"),
        ("FROM m\nFROM n", "2:1", "FROM stands already in line 1"),
        ("FROM m\nSYSTEM a\n\nSYSTEM b", "4:1", "SYSTEM stands already in line 2"),
        (
            "FROM m\nPARAMETER num_ctx 1\nPARAMETER num_ctx 2",
            "3:1",
            "PARAMETER num_ctx stands already in line 2",
        ),
        ("FROM m\nADAPTER a\nADAPTER b", "3:1", "ADAPTER stands already"),
        ("FROM m\nSYTSEM x", "2:1", 'did you mean "SYSTEM"?'),
        ("FROM m\nHELLO world", "2:1", "begins with one of"),
        ("FROM m\nſYSTEM x", "2:1", "unknown command"),
        ("FROM m\nPARAMETER num_gpus 5", "2:1", 'did you mean "num_gpu"?'),
        ("FROM m\nPARAMETER numa true", "2:1", "is no parameter of Ollama"),
        ("FROM m\nPARAMETER mirostat 1", "2:1", "ignored by Ollama"),
        ("FROM m\nPARAMETER  num_ctx 5", "2:11", "exactly one blank"),
        ("FROM m\nPARAMETER num_ctx\n", "2:18", "has no value"),
        ("FROM m\nPARAMETER num_ctx 5.0", "2:1", "whole number"),
        ("FROM m\nPARAMETER num_ctx 5k", "2:1", "whole number"),
        ("FROM m\nPARAMETER seed 9223372036854775808", "2:1", "64 bits"),
        ("FROM m\nPARAMETER temperature warm", "2:1", "must be a number"),
        ("FROM m\nPARAMETER use_mmap yes", "2:1", "true or false"),
        ("FROM m\nMESSAGE tool x", "2:9", "system, user or assistant"),
        ("FROM m\nMESSAGE User x", "2:9", "system, user or assistant"),
        ("FROM m\nMESSAGE  user x", "2:9", "exactly one blank"),
        ("FROM m\nREQUIRES 1.2.3.4", "2:1", "REQUIRES must be a version"),
        ("FROM m\nDRAFT d.gguf", "2:1", "DRAFT is not supported"),
        ('FROM m\nSYSTEM ""', "2:1", "keep the base's"),
        ('FROM m\nSYSTEM """', "2:8", "never closed"),
        ('FROM m\nSYSTEM """a\nb"" ', "2:8", "never closed"),
        ('FROM m\nSYSTEM "a\nPARAMETER num_ctx 5\n', "2:8", "never closed"),
        ("FROM m\nSYSTEM a\u200db", "2:9", "U+200D (ZERO WIDTH JOINER)"),
        ('FROM m\nSYSTEM """x\n  \u3000y"""', "3:3", "U+3000 (IDEOGRAPHIC SPACE)"),
        ("FROM m\nSYSTEM \x1b[31m", "2:8", "U+001B"),
        ("FROM m\nSYS\u200bTEM x", "2:4", "U+200B"),
        ("FROM m\n\u00a0SYSTEM x", "2:1", "U+00A0"),
    ],
)
def test_mistakes_are_told_with_their_place(text: str, place: str, reason: str) -> None:
    with pytest.raises(ModelfileError) as caught:
        parse(text)
    message = str(caught.value)
    assert message.startswith(f"test.Modelfile:{place}: ")
    assert reason in message
    assert message.isprintable()
    assert f"{caught.value.line}:{caught.value.column}" == place


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert parse("\ufeffFROM m").from_ == "m"


def test_a_file_beyond_all_measure_is_refused() -> None:
    with pytest.raises(ModelfileError, match="at most"):
        parse("FROM m\n" + "#" * (4 << 20))


printable = st.text(
    st.characters(categories=["L", "N", "P", "S"], include_characters=" \t\n\r\"#'"), min_size=1, max_size=60
)
quote_heavy = st.text(alphabet='a" \n\t', min_size=1, max_size=12)


@given(printable | quote_heavy)
def test_a_quoted_text_reads_back_as_itself(text: str) -> None:
    try:
        quoted = quote(text)
    except ValueError:
        # The one text that has no form at all.
        assert re.search(r'"""[ \t]*([\r\n]|\Z)', text)
        return
    model = parse(f"FROM m\nTEMPLATE {quoted}\nMESSAGE user {quoted}\nSYSTEM end")
    assert (model.template, model.messages[0].content, model.system) == (text, text, "end")


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("plain", "plain"),
        ("", '""'),
        (" a", '" a"'),
        ("a\nb", '"a\nb"'),
        ('"a"', '""""a""""'),
        ('a"\nb', '"""a"\nb"""'),
    ],
)
def test_quotes_are_used_where_they_are_needed(text: str, quoted: str) -> None:
    assert quote(text) == quoted


@pytest.mark.parametrize("text", ["a\u200db", 'a"""\nb', "\x00"])
def test_a_text_without_a_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"drop|cannot stand"):
        quote(text)


values = st.one_of(
    st.builds(lambda value: ("num_ctx", str(value), value), st.integers(-(2**63), 2**63 - 1)),
    st.builds(lambda value: ("temperature", f"{value / 64}", value / 64), st.integers(-1000, 1000)),
    st.builds(lambda value: ("use_mmap", str(value).lower(), value), st.booleans()),
)


@given(values, printable.filter(lambda text: '"""' not in text), st.sampled_from(["\n", "\r\n"]))
def test_a_rendered_file_reads_back(value: tuple[str, str, object], stop: str, newline: str) -> None:
    name, text, expected = value
    lines = ["FROM m", f"PARAMETER {name} {text}", f"PARAMETER stop {quote(stop)}", "# end", ""]
    model = parse(newline.join(lines))
    assert model.parameters == {name: expected, "stop": [stop]}
    assert type(model.parameters[name]) is type(expected)


tokens = st.sampled_from(
    [
        "FROM m",
        "SYSTEM",
        "PARAMETER",
        "num_ctx",
        "5",
        "stop",
        "MESSAGE",
        "user",
        '"',
        '"""',
        "#",
        "x",
        " ",
        "\t",
        "\n",
        "\r\n",
        "\u200d",
        "é",
    ]
)


@given(st.lists(tokens, max_size=20).map("".join) | st.text(max_size=50))
def test_any_text_is_read_or_refused_at_a_place_inside_it(text: str) -> None:
    try:
        line, lines = 1, parse(text).directives[-1].line
    except ModelfileError as error:
        line, lines = error.line, 1 + len(re.findall(r"\r\n|\r|\n", text))
    assert 1 <= line <= lines
