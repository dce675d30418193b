"""/api/create: a model made of another one, or of GGUF files, and what the request lays over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ollama_sim import gguf, gojson, names, payload
from ollama_sim.overlay import Overlay, OverlayError
from ollama_sim.progress import Progress, status
from ollama_sim.pull import PullError
from ollama_sim.release import Generation
from ollama_sim.store import CONFIG_TYPE, PREFIX, Layer, Store, chunks, encode_manifest

_UNQUANTISED = ("F16", "BF16", "F32")
_QUANTISED_TO = {"F32": 0, "F16": 1, "Q8_0": 7, "Q4_K_S": 14, "Q4_K_M": 15, "Q4_K": 15, "BF16": 32}
# Renderer and parser that an architecture brings along.
_BUILT_IN = {
    "gemma4": ("gemma4", "gemma4"),
    "laguna": ("laguna", "laguna"),
    "nemotron_h": ("nemotron-3-nano", "nemotron-3-nano"),
    "nemotron_h_moe": ("nemotron-3-nano", "nemotron-3-nano"),
}


class CreateError(Exception):
    """The model was not made; `code` is the HTTP status where nothing was sent yet."""

    def __init__(self, text: str, code: int = 500) -> None:
        super().__init__(text)
        self.code = code


@dataclass
class _Part:
    """A layer on its way into the new model, with the header of its file where it has one."""

    layer: Layer
    header: gguf.Header | None = None
    imported: bool = False


@dataclass
class Creation:
    """One request to create `name`. `pull` fetches a base that is not there; it raises PullError."""

    store: Store
    generation: Generation
    name: names.Name
    request: dict[str, Any]
    tell: Progress
    pull: Callable[[names.Name], None]
    config: dict[str, Any] = field(default_factory=dict)

    def run(self) -> None:
        """Make the model. Raises CreateError."""
        request = self.request
        self.config = {key: request.get(key) or "" for key in ("renderer", "parser", "requires")}
        if request.get("from"):
            parts = self._from_model(request["from"])
        elif request.get("files") is not None:
            parts = self._from_files(request["files"], adapter=False)
        else:
            raise CreateError("neither 'from' or 'files' was specified", 400)
        if request.get("adapters") is not None:
            try:
                parts += self._from_files(request["adapters"], adapter=True)
            except CreateError as error:
                raise CreateError(str(error), 400) from error
        try:
            layers = Overlay(self.store, request).over(self._describe(parts))
        except OverlayError as error:
            raise CreateError(str(error), error.code) from error
        config = self._config(layers)
        for layer in layers:
            if layer.status:
                self.tell(status(layer.status))
        self.tell(status("writing manifest"))
        self.store.write_manifest(self.name, encode_manifest(config, layers))

    # --- where the weights come from

    def _from_model(self, given: str) -> list[_Part]:
        try:
            ref = names.parse_ref(given)
        except names.InvalidNameError as error:
            raise CreateError("invalid model name", 400) from error
        if ref.source == "cloud":
            raise CreateError("bad remote", 400)
        try:
            manifest = self.store.load(ref.name)
        except FileNotFoundError:
            try:
                self.pull(ref.name)
            except PullError as error:
                raise CreateError(str(error)) from error
            manifest = self.store.load(ref.name)
        parts = []
        for layer in manifest.layers:
            try:
                mine = self.store.reuse(layer.digest, layer.media_type, ref.name.shortest)
                holds_gguf = layer.kind in ("model", "projector", "adapter")
                header = gguf.read_header(self.store.blob(layer.digest)) if holds_gguf else None
            except (OSError, ValueError) as error:
                raise CreateError(_os_words(error)) from error
            parts.append(_Part(mine, header))
        self._inherit(manifest.config)
        return parts

    def _inherit(self, config: Layer) -> None:
        """Take over what the base's config says and the request does not."""
        if not config.digest:
            return
        base = gojson.decode(self.store.read(config))
        for key in ("renderer", "parser", "requires", "model_format"):
            self.config[key] = self.config.get(key) or base.get(key) or ""
        self.config["capabilities"] = base.get("capabilities") or []

    def _from_files(self, files: dict[str, str], *, adapter: bool) -> list[_Part]:
        kind = self._kind_of(files)
        if kind == "safetensors":
            raise CreateError("the stand-in does not convert safetensors")
        if kind != "gguf":
            raise CreateError("unknown type", 400)
        if adapter and len(files) > 1:
            raise CreateError("only one adapter is currently supported", 400)
        parts = []
        for source, digest in sorted(files.items()):
            parts += self._from_gguf(source, digest)
        return parts

    def _kind_of(self, files: dict[str, str]) -> str:
        for name, digest in files.items():
            if name.endswith(".safetensors"):
                return "safetensors"
            if name.endswith(".gguf"):
                return "gguf"
            try:
                if gguf.is_gguf(self.store.blob(digest)):
                    return "gguf"
            except (OSError, ValueError):
                return ""
        return ""

    def _from_gguf(self, source: str, digest: str) -> list[_Part]:
        self.tell(status("parsing GGUF"))
        try:
            path = self.store.blob(digest)
            if not gguf.is_gguf(path):
                raise CreateError("supplied file was not in GGUF format", 400)
            header = gguf.read_header(path)
        except (OSError, ValueError) as error:
            raise CreateError(_os_words(error)) from error
        kind = "model"
        if header.kind == "adapter":
            kind = "adapter"
        elif header.kind == "projector" or (not header.blocks and header.number("vision.block_count")):
            kind = "projector"
        parent = source if self.generation.llama_server else str(path)
        return [_Part(self.store.reuse(digest, PREFIX + kind, parent), header, imported=True)]

    # --- what becomes of them

    def _describe(self, parts: list[_Part]) -> list[Layer]:
        """Quantise and rewrite where asked, and note in the config what the files say."""
        config, families = self.config, []
        layers = []
        for part in parts:
            layer, header = part.layer, part.header
            if header is not None:
                if layer.kind == "model":
                    layer, header = self._rewrite(part)
                if layer.kind == "model" or not self.generation.llama_server:
                    config["model_format"] = config.get("model_format") or "gguf"
                    config["model_family"] = config.get("model_family") or header.architecture
                    config["model_type"] = config.get("model_type") or header.parameter_size
                    config["file_type"] = config.get("file_type") or header.file_type
                    families.append(header.architecture)
                    self._built_in(header.architecture)
            layers.append(layer)
        config["model_families"] = families or None
        return layers

    def _built_in(self, architecture: str) -> None:
        config = self.config
        if architecture in _BUILT_IN and not (config["renderer"] and config["parser"]):
            renderer, parser = _BUILT_IN[architecture]
            config["renderer"] = config["renderer"] or renderer
            config["parser"] = config["parser"] or parser
            if architecture == "gemma4":
                parameters = self.request.get("parameters") or {}
                self.request["parameters"] = {"stop": ["<turn|>"], **parameters}

    def _rewrite(self, part: _Part) -> tuple[Layer, gguf.Header]:
        """The layer after quantising, or after the check that 0.30 and later do by writing the file anew."""
        layer, header = part.layer, part.header
        assert header is not None
        wanted = str(self.request.get("quantize") or self.request.get("quantization") or "").upper()
        if wanted:
            if wanted not in _QUANTISED_TO:
                raise CreateError(
                    f"unsupported quantization type {wanted} - supported types are F32, F16, Q4_K_S, Q4_K_M, Q8_0"
                )
            if header.file_type not in _UNQUANTISED:
                raise CreateError("quantization is only supported for F16, BF16 and F32 models")
            if gguf.FILE_TYPES[_QUANTISED_TO[wanted]] != header.file_type:
                return self._copied(layer, header, f"quantizing {header.file_type} model to {wanted}", wanted)
        if part.imported and self.generation.llama_server:
            return self._copied(layer, header, "validating GGUF model", "")
        return layer, header

    def _copied(
        self, layer: Layer, header: gguf.Header, words: str, wanted: str
    ) -> tuple[Layer, gguf.Header]:
        """The file with another digest: its bytes, and a tail that says what was done to it.

        Weights are not touched, so a quantised stand-in keeps the size of its source.
        """
        if self.generation.llama_server:
            try:
                payload.require("llama-quantize")
            except payload.MissingProgramError as error:
                what = "failed to validate GGUF with llama-quantize without compatibility patches: "
                words = f"{'' if wanted else what}llama-quantize unavailable: {error}"
                raise CreateError(words) from error
        path = self.store.blob(layer.digest)
        line = gojson.Struct(status=words, digest="0" * 19, total=layer.size, completed=layer.size)
        self.tell(line)
        self.tell(status("verifying conversion"))
        tail = f"\0ollama_sim:{wanted or 'COPY'}".encode()

        def pieces() -> Any:
            with path.open("rb") as file:
                yield from chunks(file)
            yield tail

        new = self.store.put_stream(pieces(), layer.media_type)
        if wanted:
            header.kv["general.file_type"] = _QUANTISED_TO[wanted]
        return new, header

    def _config(self, layers: list[Layer]) -> Layer:
        config = self.config
        fields = gojson.Struct(
            model_format=config.get("model_format", ""),
            model_family=config.get("model_family", ""),
            model_families=config.get("model_families"),
            model_type=config.get("model_type", ""),
            file_type=config.get("file_type", ""),
            renderer=config.get("renderer", ""),
            parser=config.get("parser", ""),
            requires=config.get("requires", ""),
            capabilities=config.get("capabilities") or [],
            architecture="amd64",
            os="linux",
        ).without_empty("renderer", "parser", "requires", "capabilities")
        if not self.generation.llama_server:
            fields["rootfs"] = gojson.Struct(type="layers", diff_ids=[layer.digest for layer in layers])
        return self.store.put(gojson.encode_line(fields), CONFIG_TYPE)


def check(request: dict[str, Any]) -> None:
    """The checks that are answered with 400 before anything is streamed. Raises CreateError."""
    for path, digest in (request.get("files") or {}).items():
        if not _valid_path(path):
            raise CreateError("file path must be relative", 400)
        if not digest:
            raise CreateError("invalid digest format", 400)
    if any(not digest for digest in (request.get("adapters") or {}).values()):
        raise CreateError("invalid digest format", 400)


def _valid_path(path: str) -> bool:
    """Go's fs.ValidPath: relative, slash-separated, without empty, `.` or `..` elements."""
    if path == ".":
        return True
    pure = PurePosixPath(path)
    return bool(path) and not pure.is_absolute() and all(p not in ("", ".", "..") for p in path.split("/"))


def _os_words(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"open {Path(error.filename)}: no such file or directory"
    return str(error)
