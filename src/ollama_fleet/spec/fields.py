"""The types of single keys in the grammar: how each is read, and how a JSON Schema describes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    GetJsonSchemaHandler,
    PlainValidator,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from ollama_fleet.spec import addresses, instances, names, values
from ollama_fleet.spec.addresses import IPNetwork, Listen
from ollama_fleet.spec.env import parse_env
from ollama_fleet.spec.errors import KeyPath, Wrong, WrongParts, did_you_mean, show
from ollama_fleet.spec.parameters import PARAMETERS, Parameter, ParameterValue, parse_parameters
from ollama_fleet.spec.secret import SecretReference
from ollama_fleet.spec.values import Duration, ReleaseVersion
from ollama_fleet.spec.variables import VARIABLES, Kind, Variable
from ollama_fleet.spec.windows_paths import is_windows_path, parse_windows_directory

T = TypeVar("T")

LARGEST_CONTEXT = 16 << 20
MOST_HOSTS = 10_000
MOST_LAYERS = 999
"""The number that people write for "all layers"; no model comes near it."""

_NAME = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
_MODEL = "^([A-Za-z0-9_][A-Za-z0-9_-]*/)?[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$"
_GPU = "^[a-z0-9]+(-[a-z0-9]+)*$"


def _schema(kind: str, pattern: str | None = None, **more: object) -> WithJsonSchema:
    return WithJsonSchema({"type": kind, **({"pattern": pattern} if pattern else {}), **more})


def _integer(least: int, most: int, hint: str | None = None) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Wrong(f"expected a whole number, got {show(value)}", hint)
        if not least <= value <= most:
            raise Wrong(f"{show(value)} is not between {least} and {most}", hint)
        return value

    return read


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise Wrong(f"expected true or false, got {show(value)}")


def _one_of(*words: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if isinstance(value, str) and value in words:
            return value
        guess = did_you_mean(value, words) if isinstance(value, str) else None
        raise Wrong(f"{show(value)} is not what stands here", guess or f"write {' or '.join(words)}")

    return read


_NUM_GPU_HINT = f"write the layers on the GPU, 0 to {MOST_LAYERS}, or engine to leave it to Ollama"


def _layers(value: object) -> int | str:
    if isinstance(value, str):
        if value in {"auto", "engine"}:
            return value
        raise Wrong(f"{show(value)} is not what num_gpu takes", _NUM_GPU_HINT)
    return _integer(0, MOST_LAYERS, _NUM_GPU_HINT)(value)


def _quantization(value: object) -> str | tuple[str, ...]:
    if isinstance(value, list):
        if not value:
            raise Wrong("the list is empty", "write what is acceptable, the best first")
        return _items(value, _listed_quantization, "")
    return names.parse_quantization(value)


def _listed_quantization(value: object) -> str:
    if value == "auto":
        raise Wrong('"auto" does not stand in a list', "write quantization: auto, or only what is acceptable")
    return names.parse_quantization(value)


def _networks(value: object) -> tuple[IPNetwork, ...]:
    return tuple(dict.fromkeys(_items(value, addresses.parse_network, "write a list: [192.168.1.0/24]")))


def _gpus(value: object) -> str | tuple[str, ...]:
    if value == "auto":
        return "auto"
    return _items(value, names.parse_gpu_name, "write a list: [rtx-4090], [] for none, or auto")


def _devices(value: object) -> tuple[str, ...]:
    return _items(value, instances.parse_device, "write a list of UUIDs: [GPU-…], or [] for the CPU alone")


def _host_names(value: object) -> tuple[str, ...]:
    return _distinct(_items(value, names.parse_host_name, "write a list of hosts"))


def _model_names(value: object) -> tuple[str, ...]:
    return _distinct(_items(value, names.parse_model_name, "write a list of models"))


def _asked_models(value: object) -> dict[str, object]:
    """A host's models as a map, however they were written; a list asks without settings of its own."""
    if isinstance(value, list):
        return dict.fromkeys(_model_names(value))
    if isinstance(value, dict):
        return value
    raise Wrong(f"expected a list or a map of models, got {show(value)}", "write a list: [reasoner]")


def _items(value: object, parse: Callable[[object], T], hint: str) -> tuple[T, ...]:
    if not isinstance(value, list):
        raise Wrong(f"expected a list, got {show(value)}", hint)
    parsed: list[T] = []
    wrong: list[tuple[KeyPath, Wrong]] = []
    for index, item in enumerate(value):
        try:
            parsed.append(parse(item))
        except Wrong as problem:
            wrong.append(((index,), problem))
    if wrong:
        raise WrongParts(wrong)
    return tuple(parsed)


def _distinct(items: tuple[str, ...]) -> tuple[str, ...]:
    seen: set[str] = set()
    wrong: list[tuple[KeyPath, Wrong]] = []
    for index, item in enumerate(items):
        if item in seen:
            wrong.append(((index,), Wrong(f"{show(item)} stands in the list twice", "remove one")))
        seen.add(item)
    if wrong:
        raise WrongParts(wrong)
    return items


def _mirror(value: object) -> str:
    return "upstream" if value == "upstream" else values.parse_url(value, ("https", "http", "file"))


def _prompt(value: object) -> str:
    return values.check_text(value, lines=True)


class AlsoList:
    """In the JSON Schema, a list of names may stand where the map stands."""

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        names_only = {"type": "array", "items": {"type": "string", "pattern": _MODEL}, "uniqueItems": True}
        return {"anyOf": [names_only, handler(core_schema)]}


class AlsoCount:
    """In the JSON Schema, 1 or `per-gpu` may stand where a list of instances stands."""

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [{"enum": [1, instances.PER_GPU]}, {**handler(core_schema), "minItems": 1}]}


def OrOneWord() -> WrapValidator:  # noqa: N802 - stands among types
    """A list of instances, or one of the words for it."""

    def read(value: object, items: ValidatorFunctionWrapHandler) -> object:
        if value == []:
            raise Wrong("the list is empty", "write 1, per-gpu or a list of instances")
        return items(value) if isinstance(value, list) else instances.parse_count(value)

    return WrapValidator(read)


_DURATION_SCHEMA = {
    "anyOf": [
        {"type": "integer"},
        {"type": "string", "pattern": "^[-+]?([0-9]+|([0-9]*[.]?[0-9]*(ns|us|µs|μs|ms|s|m|h))+)$"},
    ]
}


def _variable_schema(variable: Variable) -> dict[str, Any]:
    described: dict[str, Any] = {"description": f"{variable.about} Takes {variable.kind.value}."}
    types: dict[Kind, list[dict[str, Any]]] = {
        Kind.BOOLEAN: [{"type": "boolean"}, {"enum": [0, 1]}],
        Kind.COUNT: [{"type": "integer", "minimum": 0}],
        Kind.DURATION: [_DURATION_SCHEMA],
        Kind.BYTES: [{"type": ["string", "integer"]}],
        Kind.MIB: [{"type": ["string", "integer"]}],
        Kind.WORDS: [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
        Kind.ORIGINS: [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
        Kind.TEXT: [{"type": "string"}],
        Kind.CHOICE: [{"enum": list(variable.choices)}],
        Kind.DEVICES: [{"type": ["string", "integer", "array"]}],
        Kind.URL: [{"type": "string"}],
    }
    alternatives = list(types[variable.kind])
    if variable.name in {"OLLAMA_DEBUG", "LLAMA_ARG_FIT"}:
        alternatives.append({"type": "boolean"})
    return {**described, "anyOf": [*alternatives, {"type": "null"}]}


def _parameter_schema(parameter: Parameter) -> dict[str, Any]:
    alternatives: dict[type, list[dict[str, Any]]] = {
        int: [{"type": "integer"}],
        float: [{"type": "number"}],
        bool: [{"type": "boolean"}],
        tuple: [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
    }
    return {"description": parameter.about, "anyOf": [*alternatives[parameter.kind], {"type": "null"}]}


_ENV_SCHEMA = {
    "type": "object",
    "properties": {name: _variable_schema(variable) for name, variable in sorted(VARIABLES.items())},
    "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
    "patternProperties": {f"^(?!({'|'.join(VARIABLES)})$)[Oo][Ll][Ll][Aa][Mm][Aa]": False},
    "additionalProperties": {"type": ["string", "integer", "null"]},
}
_PARAMETERS_SCHEMA = {
    "type": "object",
    "properties": {name: _parameter_schema(PARAMETERS[name]) for name in sorted(PARAMETERS)},
    "additionalProperties": False,
}
_NAME_LIST = {"type": "array", "items": {"type": "string", "pattern": _NAME}, "uniqueItems": True}
_MODEL_LIST = {"type": "array", "items": {"type": "string", "pattern": _MODEL}, "uniqueItems": True}
_GPU_SCHEMA = {"anyOf": [{"const": "auto"}, {"type": "array", "items": {"type": "string", "pattern": _GPU}}]}
_LAYERS_SCHEMA = {
    "anyOf": [{"enum": ["auto", "engine"]}, {"type": "integer", "minimum": 0, "maximum": MOST_LAYERS}]
}
_QUANTIZATION_SCHEMA = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": "string", "not": {"const": "auto"}}, "minItems": 1},
    ]
}


# What stands in one key.
def _models_dir(value: object) -> str:
    """A directory of Linux or, with a drive, of Windows; which of them the host has is checked with the host."""
    if isinstance(value, str) and (is_windows_path(value) or value.startswith("\\\\")):
        return parse_windows_directory(value)
    return values.parse_models_dir(value)


Flag = Annotated[bool, PlainValidator(_boolean), _schema("boolean")]
Port = Annotated[int, PlainValidator(_integer(1, 65535)), _schema("integer", minimum=1, maximum=65535)]
ListenField = Annotated[
    Listen,
    PlainValidator(addresses.parse_listen),
    _schema("string", r"^([0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]+$"),
]
Networks = Annotated[
    tuple[IPNetwork, ...],
    PlainValidator(_networks),
    _schema("array", items={"type": "string", "pattern": "^[0-9A-Fa-f:.]+(/[0-9]+)?$"}),
]
Address = Annotated[str, PlainValidator(addresses.parse_address), _schema("string", "^(@local|[^@ ]+)$")]
ModelsDir = Annotated[str, PlainValidator(_models_dir), _schema("string", r"^(/|[A-Za-z]:[\\/])")]
ControllerPath = Annotated[str, PlainValidator(values.parse_controller_path), _schema("string")]
UserName = Annotated[
    str, PlainValidator(names.parse_user), _schema("string", "^[A-Za-z_][A-Za-z0-9._-]*(@[A-Za-z0-9.-]+)?$")
]
Version = Annotated[
    ReleaseVersion,
    PlainValidator(values.parse_release_version),
    _schema("string", r"^[0-9]+\.[0-9]+\.[0-9]+(-rc[0-9]+)?$"),
]
Mirror = Annotated[str, PlainValidator(_mirror), _schema("string", "^(upstream$|https?://|file:///)")]
Environment = Annotated[
    dict[str, str | SecretReference | None], PlainValidator(parse_env), WithJsonSchema(_ENV_SCHEMA)
]
Parameters = Annotated[
    dict[str, ParameterValue | None], PlainValidator(parse_parameters), WithJsonSchema(_PARAMETERS_SCHEMA)
]
Gpus = Annotated[str | tuple[str, ...], PlainValidator(_gpus), WithJsonSchema(_GPU_SCHEMA)]
InstanceName = Annotated[
    str,
    PlainValidator(instances.parse_instance_name),
    _schema("string", "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"),
]
InstanceDevices = Annotated[
    tuple[str, ...],
    PlainValidator(_devices),
    _schema("array", items={"type": "string", "pattern": f"{_GPU[:-1]}$|^(GPU|MIG)-[0-9A-Fa-f-]+$"}),
]
HostNames = Annotated[tuple[str, ...], PlainValidator(_host_names), WithJsonSchema(_NAME_LIST)]
ModelNames = Annotated[tuple[str, ...], PlainValidator(_model_names), WithJsonSchema(_MODEL_LIST)]
Base = Annotated[str, PlainValidator(names.parse_base), _schema("string", minLength=1)]
Quantization = Annotated[
    str | tuple[str, ...], PlainValidator(_quantization), WithJsonSchema(_QUANTIZATION_SCHEMA)
]
Size = Annotated[str, PlainValidator(names.parse_size_tag), _schema("string", "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Context = Annotated[
    int,
    PlainValidator(_integer(4, LARGEST_CONTEXT, "num_ctx counts tokens, such as 8192")),
    _schema("integer", minimum=4, maximum=LARGEST_CONTEXT),
]
HostCount = Annotated[
    int,
    PlainValidator(_integer(1, MOST_HOSTS, "write a number of hosts")),
    _schema("integer", minimum=1, maximum=MOST_HOSTS),
]
FailureCount = Annotated[
    int,
    PlainValidator(_integer(0, MOST_HOSTS, "write a number of hosts")),
    _schema("integer", minimum=0, maximum=MOST_HOSTS),
]
Layers = Annotated[int | str, PlainValidator(_layers), WithJsonSchema(_LAYERS_SCHEMA)]
TemplateName = Annotated[
    str, PlainValidator(names.parse_template_name), _schema("string", "^[A-Za-z0-9_][A-Za-z0-9._-]*$")
]
Prompt = Annotated[str, PlainValidator(_prompt), _schema("string")]
KeepAlive = Annotated[Duration, PlainValidator(values.parse_duration), WithJsonSchema(_DURATION_SCHEMA)]
Percent = Annotated[int, PlainValidator(_integer(0, 100)), _schema("integer", minimum=0, maximum=100)]

LayerCount = Annotated[
    int,
    PlainValidator(_integer(0, MOST_LAYERS, "layers counts layers on GPUs, such as 33")),
    _schema("integer", minimum=0, maximum=MOST_LAYERS),
]
Bytes = Annotated[
    int,
    PlainValidator(values.parse_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?(B|[KMGT]iB)$"},
            ]
        }
    ),
]


def word(*words: str) -> PlainValidator:
    """One of a few words."""
    return PlainValidator(_one_of(*words))


def _grammar(value: object) -> int:
    if value == 1 and not isinstance(value, bool):
        return 1
    raise Wrong(f"{show(value)} is no version of this grammar", "write version: 1")


def _prune(value: object) -> bool | str:
    if isinstance(value, bool) or value == "report":
        return "report" if value == "report" else bool(value)
    raise Wrong(f"{show(value)} is not what stands here", "write report, true or false")


GRAMMAR = PlainValidator(_grammar)
PRUNE = PlainValidator(_prune)
Scope = Annotated[
    Literal["system", "user"], word("system", "user"), WithJsonSchema({"enum": ["system", "user"]})
]

# Names as keys of maps.
HostKey = Annotated[str, AfterValidator(names.parse_host_name), _schema("string", _NAME)]
GroupKey = Annotated[str, AfterValidator(names.parse_group_name), _schema("string", _NAME)]
ModelKey = Annotated[str, AfterValidator(names.parse_model_name), _schema("string", _MODEL)]
GpuKey = Annotated[str, AfterValidator(names.parse_gpu_name), _schema("string", _GPU)]
QuantizationKey = Annotated[str, AfterValidator(names.parse_quantization), _schema("string")]
RegistryKey = Annotated[
    str, AfterValidator(names.parse_registry_name), _schema("string", "^[a-z0-9_][a-z0-9_.-]*(:[0-9]+)?$")
]
AskedModels = BeforeValidator(_asked_models)
