"""Names of a fleet file: hosts, groups, users, models and what they are made from, quantisations."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ollama_fleet.spec.errors import Wrong, did_you_mean, show
from ollama_fleet.spec.values import check_path

_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9._-]{0,63}(@[A-Za-z0-9][A-Za-z0-9.-]{0,63})?")
_TEMPLATE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}")
_GPU = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_REGISTRY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}(:[1-9][0-9]{0,4})?")

# Ollama's own rules for the parts of a model's name.
_MODEL_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")
_NAMESPACE_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
_HOST_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}")

AUTO = "auto"
"""Leaves a size or a quantisation to the planner."""

CPU = "cpu"
"""The device kind of a host without a GPU, as ``per_gpu`` may name it."""

QUANTIZATIONS = (
    "F32",
    "F16",
    "BF16",
    "Q8_0",
    "Q6_K",
    "Q5_0",
    "Q5_1",
    "Q5_K",
    "Q5_K_S",
    "Q5_K_M",
    "Q4_0",
    "Q4_1",
    "Q4_K",
    "Q4_K_S",
    "Q4_K_M",
    "Q3_K",
    "Q3_K_S",
    "Q3_K_M",
    "Q3_K_L",
    "Q2_K",
    "Q2_K_S",
    "IQ4_NL",
    "IQ4_XS",
    "IQ3_M",
    "IQ3_S",
    "IQ3_XS",
    "IQ3_XXS",
    "IQ2_M",
    "IQ2_S",
    "IQ2_XS",
    "IQ2_XXS",
    "IQ1_M",
    "IQ1_S",
    "TQ1_0",
    "TQ2_0",
    "MXFP4",
    "NVFP4",
)
"""Quantisations that GGUF files come in, as llama.cpp names them."""


def parse_host_name(value: object) -> str:
    """The name of a host or group: it becomes part of file names and of the inventory."""
    if isinstance(value, str) and value.startswith("@"):
        raise Wrong(
            f"{show(value)} is no name", f"give it a name of its own and write address: {show(value)}"
        )
    if not isinstance(value, str) or not _HOST.fullmatch(value):
        raise Wrong(
            f"{show(value)} is no name", "use letters, digits, dots, dashes and underscores, at most 63"
        )
    return value


def parse_group_name(value: object) -> str:
    """The name of a group; ``all`` is the inventory's own."""
    if value == "all":
        raise Wrong('"all" is every host by itself', "put what holds for all hosts in defaults")
    return parse_host_name(value)


def parse_user(value: object) -> str:
    """A login name."""
    if not isinstance(value, str) or not _USER.fullmatch(value):
        raise Wrong(f"{show(value)} is no user name")
    return value


def parse_template_name(value: object) -> str:
    """The name of a Modelfile template, ``NAME`` for ``modelfiles/NAME.Modelfile.j2``."""
    if isinstance(value, str):
        short = value.rpartition("/")[2].removesuffix(".j2").removesuffix(".Modelfile")
        if short != value and _TEMPLATE.fullmatch(short):
            raise Wrong(
                f"{show(value)} is a path", f"write {show(short)} for modelfiles/{short}.Modelfile.j2"
            )
        if _TEMPLATE.fullmatch(value):
            return value
    raise Wrong(f"{show(value)} is no name of a template", "write NAME for modelfiles/NAME.Modelfile.j2")


def parse_gpu_name(value: object) -> str:
    """A GPU as the catalogue spells them, ``rtx-4060-ti-16gb``; whether it is in there, the caller checks."""
    if isinstance(value, str):
        if _GPU.fullmatch(value) and len(value) <= 60:
            return value
        guess = re.sub(r"[^a-z0-9]+", "-", value.casefold()).strip("-")
        if guess and _GPU.fullmatch(guess) and len(guess) <= 60:
            raise Wrong(f"{show(value)} is no GPU's name", f"write {show(guess)}")
    raise Wrong(f"{show(value)} is no GPU's name", "write it in small letters with dashes, such as rtx-4090")


def parse_registry_name(value: object) -> str:
    """The host of a registry with its port, as it stands at the start of a model's name."""
    if isinstance(value, str) and _REGISTRY.fullmatch(value):
        port = value.partition(":")[2]
        if not port or int(port) <= 65535:
            if value != value.casefold():
                raise Wrong(f"{show(value)} is written in capitals", f"write {value.casefold()}")
            return value
    raise Wrong(f"{show(value)} is no registry", "write HOST or HOST:PORT, without http://")


def parse_model_name(value: object) -> str:
    """What a user calls a model: ``name``, ``name:tag`` or ``namespace/name:tag``, in Ollama's characters."""
    hint = "use letters, digits, dots, dashes and underscores, with :TAG after it if you like"
    if not isinstance(value, str):
        raise Wrong(f"{show(value)} is no name for a model", hint)
    path, colon, tag = value.partition(":")
    namespace, slash, name = path.rpartition("/")
    good = bool(
        _MODEL_PART.fullmatch(name)
        and (not slash or _NAMESPACE_PART.fullmatch(namespace))
        and (not colon or _MODEL_PART.fullmatch(tag))
    )
    if not good:
        raise Wrong(f"{show(value)} is no name for a model", hint)
    _refuse_reserved(value, tag)
    return value


def _refuse_reserved(value: str, tag: str) -> None:
    """Ollama takes these at the end of a name for where a model runs, and never looks for a model of that tag."""
    if tag.casefold() == "cloud" or tag.casefold().endswith("-cloud"):
        raise Wrong(f"{show(value)} runs in the cloud, not on a host", "name a model that is downloaded")
    if tag.casefold() == "local":
        raise Wrong(f"{show(value)} has a tag that Ollama keeps for itself", "use another tag than local")


def is_file_base(base: str) -> bool:
    """Whether ``from`` names a GGUF file of the controller; else it is a name in a registry."""
    return base.startswith(("/", "./", "~/"))


def parse_base(value: object) -> str:
    """``from``: a name in a registry, or a GGUF file (``/…``, ``~/…``, ``./…`` beside the fleet file)."""
    hint = "write a name such as qwen3:8b or hf.co/ORG/NAME:Q4_K_M, or a file such as ./models/NAME.gguf"
    if not isinstance(value, str) or not value:
        raise Wrong(f"{show(value)} is no base of a model", hint)
    if is_file_base(value) or value.startswith("../"):
        return _file_base(value)
    if "://" in value:
        bare = value.partition("://")[2]
        raise Wrong(f"{show(value)} is a URL", f"write the name alone: {show(bare)}" if bare else hint)
    if "@" in value:
        raise Wrong(
            f"{show(value)} names a digest, which Ollama does not take",
            "write name and tag; fleet.lock holds the digest",
        )
    if value.casefold().endswith(".gguf") and "/" not in value:
        raise Wrong(f"{show(value)} is no name in a registry", f"for a file beside this one write ./{value}")
    rest, _, tag = value.rpartition(":") if ":" in value.rpartition("/")[2] else (value, "", "")
    *before, name = rest.split("/")
    good = bool(_MODEL_PART.fullmatch(name)) and not value.endswith(":")
    good = good and (not tag or bool(_MODEL_PART.fullmatch(tag)))
    if len(before) == 1 and ":" in before[0]:
        raise Wrong(
            f"{show(value)} lacks the namespace after the registry", f"write {before[0]}/library/{name}"
        )
    if len(before) == 2:
        good = good and bool(_HOST_PART.fullmatch(before[0]))
    if len(before) > 2 or not good or (before and not _NAMESPACE_PART.fullmatch(before[-1])):
        raise Wrong(f"{show(value)} is no base of a model", hint)
    _refuse_reserved(value, tag)
    return value


def _file_base(value: str) -> str:
    path = check_path(value)
    if not path.casefold().endswith(".gguf"):
        raise Wrong(f"{show(value)} is no GGUF file", "other files are not supported yet")
    return path


def canonical_model(name: str) -> str:
    """A name in a registry spelt out in full and in small letters, so that equal names are equal texts."""
    path, _, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", "latest")
    parts = path.split("/")
    full = ["registry.ollama.ai", "library"][: 3 - len(parts)] + parts
    return f"{'/'.join(full)}:{tag}".casefold()


def parse_quantization(value: object) -> str:
    """The name of a quantisation; whether the model has it is for its catalogue or ``variants`` to say."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", value):
        raise Wrong(f"{show(value)} is no quantization", "write one such as q4_K_M or IQ3_M")
    return value


def parse_size_tag(value: object) -> str:
    """The size of a model within its family, as its tag has it, or `auto`."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", value):
        raise Wrong(f"{show(value)} is no size", "write one such as 32b, or auto")
    return value.casefold()


def pick_base(from_: str, quantization: str, variants: Mapping[str, str]) -> str:
    """What a model of this quantisation is made from.

    Raises Wrong where there is no such quantisation, or neither ``variants`` nor the name in ``from`` has it.
    """
    folded = {name.casefold(): base for name, base in variants.items()}
    wanted = quantization.casefold()
    if wanted in folded:
        return folded[wanted]
    if re.search(rf"(?<![a-z0-9_]){re.escape(wanted)}(?![a-z0-9_])", from_.casefold()):
        return from_
    known = [*variants, *QUANTIZATIONS]
    if wanted not in {name.casefold() for name in known}:
        raise Wrong(f"{show(quantization)} is no known quantization", did_you_mean(quantization, known))
    raise Wrong(
        f"where {show(from_)} is found as {show(quantization)} is not known",
        f"write it below variants ({quantization}: NAME), or name it in from",
    )
