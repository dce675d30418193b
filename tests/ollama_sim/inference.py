"""The endpoints that load models: ps, generate, chat, embed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ollama_sim import engine, gojson, golog, gotime, loadlog, model, options
from ollama_sim.desk import Desk
from ollama_sim.progress import Progress
from ollama_sim.reply import ApiError, Reply, Stream
from ollama_sim.scheduler import LoadError, Runner, expiry

_STOPPED = (
    "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error, "
    "check ollama server logs for details"
)


class Inference:
    """What is loaded, and what it answers."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def ps(self) -> Reply:
        return Reply(
            gojson.Struct(models=[self._running(runner) for runner in self.desk.scheduler.running()])
        )

    def _running(self, runner: Runner) -> gojson.Struct:
        size, vram = runner.layout.total, runner.layout.vram
        if self.desk.machine.get("unparsed_buffers"):
            size = vram = Path(runner.key).stat().st_size
        elif self.desk.machine.get("claim_full_gpu"):
            vram = size
        return gojson.Struct(
            name=runner.model.name.shortest,
            model=runner.model.name.shortest,
            size=size,
            digest=runner.model.manifest.digest,
            details=runner.model.details(),
            expires_at=gotime.rfc3339(expiry(runner)),
            size_vram=vram,
            context_length=runner.context,
        )

    def generate(self, body: bytes) -> Reply | Stream:
        request = self.desk.read("GenerateRequest", body)
        found = self.desk.wanted(request, 404, f"model '{request.get('model', '')}' not found")
        prompt = request.get("prompt", "")
        extra = {"response": ""}
        return self._run(request, found, prompt, extra, "generate", empty=not prompt)

    def chat(self, body: bytes) -> Reply | Stream:
        request = self.desk.read("ChatRequest", body)
        found = self.desk.wanted(request, 400, "model is required")
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
            self.desk.scheduler.expire(found)
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
                rate = float(self.desk.machine.get("tokens_per_second") or engine.DEFAULT_RATE)
                said = engine.answer(runner.model.name.shortest, prompt, limit=limit, rate=rate)
                self._late_oom(found, runner, said, lambda words: tell(event(words)))
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
        request = self.desk.read("EmbedRequest", body)
        wanted = request.get("model", "")
        started = gotime.now()
        found = self._embedder(request)
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

    def _late_oom(
        self, found: model.Model, runner: Runner, said: engine.Answer, say: Callable[[str], None]
    ) -> None:
        """Run out of memory in the middle of an answer, where the scenario or its law of memory wants that."""
        tokens = said.prompt_tokens + len(said.words)
        limit = (self.desk.machine.get("late_oom") or {}).get("after_tokens")
        if limit is not None and tokens > int(limit):
            spoken = max(int(limit) - said.prompt_tokens, 0)
        elif self.desk.scheduler.grow(runner, tokens):
            return
        else:
            spoken = 0
        for line in loadlog.LATE_OUT_OF_MEMORY:
            golog.raw(line)
        for piece in said.words[:spoken]:
            say(piece)
        self.desk.scheduler.expire(found)
        if spoken:
            raise ApiError(
                500, f"an error was encountered while running the model: {loadlog.LATE_OUT_OF_MEMORY[0]}"
            )
        # The engine went while it read the prompt, before it had begun to answer.
        reason = "\n".join(loadlog.LATE_OUT_OF_MEMORY) if self.desk.generation.llama_server else ""
        raise ApiError(500, _STOPPED + (f": {reason}" if reason else ""))

    def _embedder(self, request: dict[str, Any]) -> model.Model:
        wanted = request.get("model", "")
        try:
            return self.desk.wanted(request, 404, f"model '{wanted}' not found")
        except ApiError as error:
            if error.code == 404 and wanted:
                raise ApiError(404, f'model "{wanted}" not found, try pulling it first') from error
            raise

    def _check_think(self, request: dict[str, Any], found: model.Model) -> None:
        if request.get("think") and "thinking" not in found.capabilities:
            raise ApiError(400, f'"{request["model"]}" does not support thinking')

    def _options(self, request: dict[str, Any], found: model.Model) -> options.RunnerOptions:
        try:
            return options.runner(
                found.options, request.get("options", {}), self.desk.scheduler.default_context
            )
        except options.OptionError as error:
            raise ApiError(500, str(error)) from error

    @contextmanager
    def _use(
        self, found: model.Model, chosen: options.RunnerOptions, keep_alive: int | None
    ) -> Iterator[Runner]:
        """The scheduler's `use`, with a failure to load told as the API tells it."""
        try:
            with self.desk.scheduler.use(found, chosen, keep_alive) as runner:
                yield runner
        except LoadError as error:
            raise ApiError(500, str(error)) from error
