"""The API: what each endpoint does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ollama_sim import create, engine, gguf, gojson, gotime, model, names, options, requests, show
from ollama_sim.environ import Environment
from ollama_sim.machine import Machine
from ollama_sim.pull import Progress, Pull, PullError, status
from ollama_sim.release import Release
from ollama_sim.scheduler import LoadError, Runner, Scheduler, expiry
from ollama_sim.store import InvalidDigestError, Store

_CLOUD_OFF = "ollama cloud is disabled"


class ApiError(Exception):
    """A request that is answered with an error."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass
class Reply:
    """An answer with one body. Text where `body` is a str, JSON otherwise, nothing where it is None."""

    body: Any = None
    code: int = 200


@dataclass
class Stream:
    """An answer in lines. `run` is called with the writer; what it raises becomes an error line.

    `collect` makes the one body of a request with `stream: false` out of all lines.
    """

    run: Callable[[Progress], None]
    stream: bool = True
    collect: Callable[[list[gojson.Struct]], gojson.Struct] = field(default=lambda lines: lines[-1])


class Api:
    """Everything the server knows, and its endpoints."""

    def __init__(self, environment: Environment, release: Release) -> None:
        self.environment = environment
        self.release = release
        self.generation = release.generation
        self.machine = Machine(environment, release.faults)
        self.store = Store(environment.models)
        self.scheduler = Scheduler(environment, self.machine, self.generation)

    # --- about the server

    def version(self) -> Reply:
        return Reply({"version": self.machine.get("version_lie") or self.release.version})

    def status(self) -> Reply:
        off = self.environment.flag("OLLAMA_NO_CLOUD")
        return Reply({"cloud": gojson.Struct(disabled=off, source="env" if off else "none")})

    # --- about models

    def tags(self) -> Reply:
        entries = []
        for manifest in self.store.all():
            try:
                entries.append((manifest.modified, self._entry(manifest.name)))
            except (OSError, ValueError):
                continue
        entries.sort(key=lambda pair: -(pair[0] // gotime.SECOND))
        return Reply(gojson.Struct(models=[entry for _, entry in entries]))

    def _entry(self, name: names.Name) -> gojson.Struct:
        return model.tags_entry(model.load(self.store, name), self.generation)

    def show(self, body: bytes) -> Reply:
        request = self._read("ShowRequest", body)
        wanted = request.get("model") or request.get("name")
        if not wanted:
            raise ApiError(400, "model is required")
        try:
            ref = names.parse_ref(wanted)
        except names.InvalidNameError as error:
            raise ApiError(400, str(error)) from error
        found = self._load(self.store.existing(ref.name), wanted)
        try:
            answer = show.show(
                found,
                self.generation,
                verbose=request.get("verbose", False),
                system=request.get("system", ""),
            )
        except (OSError, gguf.GGUFError) as error:
            raise ApiError(500, str(error)) from error
        return Reply(answer)

    def delete(self, body: bytes) -> Reply:
        request = self._read("DeleteRequest", body)
        wanted = request.get("model") or request.get("name") or ""
        try:
            name = self.store.existing(names.parse_ref(wanted).name)
        except names.InvalidNameError as error:
            text = f'name "{wanted}" is invalid' if str(error) == "invalid model name" else str(error)
            raise ApiError(400, text) from error
        try:
            self.store.remove(self.store.load(name))
        except FileNotFoundError as error:
            raise ApiError(404, f"model '{wanted}' not found") from error
        except (OSError, ValueError) as error:
            raise ApiError(500, str(error)) from error
        return Reply()

    def copy(self, body: bytes) -> Reply:
        request = self._read("CopyRequest", body)
        found = {}
        for end in ("source", "destination"):
            name = names.parse(request.get(end, ""))
            if not name.valid:
                raise ApiError(400, f'{end} "{request.get(end, "")}" is invalid')
            found[end] = self.store.existing(name)
        source, destination = found["source"], found["destination"]
        if source.path != destination.path:
            try:
                raw = (self.store.manifests / source.path).read_bytes()
            except FileNotFoundError as error:
                raise ApiError(404, f'model "{request["source"]}" not found') from error
            self.store.write_manifest(destination, raw)
        return Reply()

    def head_blob(self, digest: str) -> Reply:
        try:
            path = self.store.blob(digest)
        except InvalidDigestError as error:
            raise ApiError(400, str(error)) from error
        if not path.exists():
            raise ApiError(404, f'blob "{digest}" not found')
        return Reply()

    def put_blob(self, digest: str, pieces: Iterator[bytes]) -> Reply:
        try:
            path = self.store.blob(digest)
        except InvalidDigestError as error:
            raise ApiError(400, str(error)) from error
        if path.exists():
            return Reply()
        layer = self.store.put_stream(pieces, "")
        if layer.digest != digest:
            raise ApiError(400, f'digest mismatch, expected "{digest}", got "{layer.digest}"')
        return Reply(code=201)

    def pull(self, body: bytes) -> Stream:
        request = self._read("PullRequest", body)
        try:
            ref = names.parse_ref(request.get("model") or request.get("name") or "")
        except names.InvalidNameError as error:
            text = str(error) if str(error).startswith("use either") else "invalid model name"
            raise ApiError(400, text) from error
        # The name is displayed and parsed again, which loses a scheme that was given.
        name = names.parse(self.store.existing(ref.name).shortest)

        def run(tell: Progress) -> None:
            self._pull(name, insecure=request.get("insecure", False), tell=tell)

        return Stream(run, request.get("stream", True))

    def _pull(self, name: names.Name, *, insecure: bool, tell: Progress) -> None:
        try:
            Pull(self.store, self.environment, self.machine, self.release).run(name, insecure=insecure, tell=tell)
        except PullError as error:
            raise ApiError(500, str(error)) from error

    def create(self, body: bytes) -> Stream:
        request = self._read("CreateRequest", body)
        name = names.parse(request.get("model") or request.get("name") or "")
        try:
            create.check(request)
        except create.CreateError as error:
            raise ApiError(error.code, str(error)) from error
        if not name.valid:
            raise ApiError(400, "invalid model name")
        name = self.store.existing(name)
        return Stream(lambda tell: self._create(name, request, tell), request.get("stream", True))

    def _create(self, name: names.Name, request: dict[str, Any], tell: Progress) -> None:
        try:
            old = self.store.load(name)
        except (OSError, ValueError):
            old = None

        def pull(base: names.Name) -> None:
            Pull(self.store, self.environment, self.machine, self.release).run(base, insecure=False, tell=tell)

        try:
            create.Creation(self.store, self.generation, name, request, tell, pull).run()
        except create.CreateError as error:
            raise ApiError(error.code, str(error)) from error
        if old and not self.environment.flag("OLLAMA_NOPRUNE"):
            for digest in old.digests - self.store.in_use():
                self.store.blob(digest).unlink(missing_ok=True)
        tell(status("success"))

    # --- running models

    def ps(self) -> Reply:
        return Reply(gojson.Struct(models=[self._running(runner) for runner in self.scheduler.running()]))

    def _running(self, runner: Runner) -> gojson.Struct:
        return gojson.Struct(
            name=runner.model.name.shortest,
            model=runner.model.name.shortest,
            size=runner.layout.total,
            digest=runner.model.manifest.digest,
            details=runner.model.details(self.generation),
            expires_at=gotime.rfc3339(expiry(runner)),
            size_vram=runner.layout.vram,
            context_length=runner.context,
        )

    def generate(self, body: bytes) -> Reply | Stream:
        request = self._read("GenerateRequest", body)
        found = self._wanted(request, 404, f"model '{request.get('model', '')}' not found")
        prompt = request.get("prompt", "")
        extra = {"response": ""}
        return self._run(request, found, prompt, extra, "generate", empty=not prompt)

    def chat(self, body: bytes) -> Reply | Stream:
        request = self._read("ChatRequest", body)
        found = self._wanted(request, 400, "model is required")
        messages = request.get("messages") or []
        prompt = "\n".join(str(message.get("content", "")) for message in messages)
        extra = {"message": gojson.Struct(role="assistant", content="")}
        return self._run(request, found, prompt, extra, "chat", empty=not messages)

    def _run(
        self,
        request: dict[str, Any],
        found: model.Model,
        prompt: str,
        extra: dict[str, Any],
        verb: str,
        *,
        empty: bool,
    ) -> Reply | Stream:
        """Load, unload or answer; `extra` is where the words go in an answer of this endpoint."""
        started, keep_alive = gotime.now(), request.get("keep_alive")
        wanted = request["model"]

        def event(words: str = "", **more: Any) -> gojson.Struct:
            line = gojson.Struct(model=wanted, created_at=gotime.rfc3339(gotime.now(), utc=True))
            if "response" in extra:
                line["response"] = words
            else:
                line["message"] = gojson.Struct(role="assistant", content=words)
            line["done"] = bool(more)
            line.update(more)
            return line

        if empty and keep_alive == 0:
            self.scheduler.expire(found)
            return Reply(event(done_reason="unload"))
        self._check_think(request, found)
        if "completion" not in found.capabilities:
            raise ApiError(400, f'"{wanted}" does not support {verb}')
        chosen = self._options(request, found)
        if empty:
            with self._use(found, chosen, keep_alive):
                return Reply(event(done_reason="load"))

        def run(tell: Progress) -> None:
            with self._use(found, chosen, keep_alive) as runner:
                loaded = gotime.now()
                limit = int((found.options | request.get("options", {})).get("num_predict", -1))
                rate = float(self.machine.get("tokens_per_second") or engine.DEFAULT_RATE)
                said = engine.answer(runner.model.name.shortest, prompt, limit=limit, rate=rate)
                for piece in said.pieces():
                    tell(event(piece))
                metrics = gojson.Struct(
                    total_duration=gotime.now() - started + said.eval_duration + said.prompt_duration,
                    load_duration=loaded - started,
                    prompt_eval_count=said.prompt_tokens,
                    prompt_eval_duration=said.prompt_duration,
                    eval_count=len(said.words),
                    eval_duration=said.eval_duration,
                )
                if "response" in extra and not request.get("raw"):
                    metrics = gojson.Struct(context=engine.tokens(prompt + "".join(said.words)), **metrics)
                tell(event(done_reason=said.reason, **metrics))

        def collect(lines: list[gojson.Struct]) -> gojson.Struct:
            whole = gojson.Struct(lines[-1])
            if "response" in extra:
                whole["response"] = "".join(line["response"] for line in lines)
            else:
                words = "".join(line["message"]["content"] for line in lines)
                whole["message"] = gojson.Struct(role="assistant", content=words)
            return whole

        return Stream(run, request.get("stream", True), collect)

    def embed(self, body: bytes) -> Reply:
        request = self._read("EmbedRequest", body)
        wanted = request.get("model", "")
        started = gotime.now()
        found = self._wanted(request, 404, f"model '{wanted}' not found")
        given = request.get("input")
        texts = given if isinstance(given, list) else [given or ""]
        if not all(isinstance(text, str) for text in texts):
            raise ApiError(400, "invalid input type")
        texts = [] if texts == [""] else texts
        with self._use(found, self._options(request, found), request.get("keep_alive")):
            loaded = gotime.now()
            header = found.header
            width = int(request.get("dimensions") or (header.number("embedding_length") if header else 1))
            answer = gojson.Struct(
                model=wanted,
                embeddings=[engine.embedding(text, width) for text in texts],
                total_duration=gotime.now() - started,
                load_duration=loaded - started,
                prompt_eval_count=sum(len(engine.tokens(text)) for text in texts),
            )
            if not texts:
                answer = gojson.Struct(model=wanted, embeddings=[])
        return Reply(answer.without_empty("prompt_eval_count"))

    # --- shared steps

    def _read(self, kind: str, body: bytes) -> dict[str, Any]:
        try:
            return requests.read(kind, body)
        except requests.BodyError as error:
            raise ApiError(400, str(error)) from error

    def _wanted(self, request: dict[str, Any], code: int, words: str) -> model.Model:
        given = request.setdefault("model", "")
        try:
            ref = names.parse_ref(given)
        except names.InvalidNameError as error:
            if str(error) == "model is required":
                raise ApiError(code, words) from error
            raise ApiError(400, str(error)) from error
        if ref.source == "cloud":
            raise ApiError(403, f"{_CLOUD_OFF}: remote model is unavailable")
        return self._load(self.store.existing(ref.name), given)

    def _load(self, name: names.Name, wanted: str) -> model.Model:
        try:
            return model.load(self.store, name)
        except FileNotFoundError as error:
            raise ApiError(404, f"model '{wanted}' not found") from error
        except (OSError, ValueError) as error:
            raise ApiError(500, str(error)) from error

    def _check_think(self, request: dict[str, Any], found: model.Model) -> None:
        if request.get("think") and "thinking" not in found.capabilities:
            raise ApiError(400, f'"{request["model"]}" does not support thinking')

    def _options(self, request: dict[str, Any], found: model.Model) -> options.RunnerOptions:
        try:
            return options.runner(found.options, request.get("options", {}), self.scheduler.default_context)
        except options.OptionError as error:
            raise ApiError(500, str(error)) from error

    def _use(self, found: model.Model, chosen: options.RunnerOptions, keep_alive: int | None) -> Any:
        return _translated(self.scheduler, found, chosen, keep_alive)


class _translated:  # noqa: N801
    """The scheduler's `use`, with a failure to load told as the API tells it."""

    def __init__(
        self, scheduler: Scheduler, found: model.Model, chosen: options.RunnerOptions, keep_alive: int | None
    ) -> None:
        self.inner = scheduler.use(found, chosen, keep_alive)

    def __enter__(self) -> Runner:
        try:
            return self.inner.__enter__()
        except LoadError as error:
            raise ApiError(500, str(error)) from error

    def __exit__(self, *exc: Any) -> bool | None:
        return self.inner.__exit__(*exc)
