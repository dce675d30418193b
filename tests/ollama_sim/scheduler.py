"""Loaded models: loading, sharing, evicting, and unloading when their time is over."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ollama_sim import caller, golog, gotime, loadlog, memory, payload
from ollama_sim.environ import Environment
from ollama_sim.machine import GIB, Gpu, Machine
from ollama_sim.model import Model
from ollama_sim.options import RunnerOptions
from ollama_sim.release import Generation

# Architectures that never serve requests in parallel.
_SERIAL = (
    *("mllama", "qwen3vl", "qwen3vlmoe", "qwen35", "qwen35moe", "qwen3next"),
    *("lfm2", "lfm2moe", "nemotron_h", "nemotron_h_moe", "nemotron_h_omni"),
)


class LoadError(Exception):
    """Loading failed; the text is what the API answers with status 500."""


@dataclass
class Runner:
    """A loaded model. `expires_at` is nanoseconds since the epoch; 0 while its first request runs."""

    model: Model
    options: RunnerOptions
    layout: memory.Layout
    context: int
    keep_alive: int
    expires_at: int = 0
    requests: int = 0
    grown: int = 0
    timer: threading.Timer | None = field(default=None, repr=False)

    @property
    def key(self) -> str:
        return str(self.model.file)

    def serves(self, model: Model, options: RunnerOptions) -> bool:
        """Whether a request for `model` can be answered without loading again."""
        mine = self.options
        if options.num_gpu < 0:
            mine = RunnerOptions(**{**vars(mine), "num_gpu": options.num_gpu})
        return mine == options and self.model.adapters == model.adapters


class Scheduler:
    """Which models are in memory. One model file has one runner."""

    def __init__(self, environment: Environment, machine: Machine, generation: Generation) -> None:
        self.environment = environment
        self.machine = machine
        self.generation = generation
        self.loaded: dict[str, Runner] = {}
        self._lock = threading.RLock()
        self._loading = threading.Lock()
        self._moments = 0

    @property
    def default_context(self) -> int:
        """OLLAMA_CONTEXT_LENGTH, or a tier by the devices' memory."""
        if given := self.environment.count("OLLAMA_CONTEXT_LENGTH"):
            return given
        return tier(sum(gpu.memory for gpu in self.machine.gpus))

    @contextmanager
    def use(self, model: Model, options: RunnerOptions, keep_alive: int | None) -> Iterator[Runner]:
        """Hold a runner of `model` for one request, loading it first where needed. Raises LoadError."""
        runner = self._acquire(model, options, keep_alive)
        try:
            yield runner
        finally:
            self._release(runner)

    def expire(self, model: Model) -> None:
        """Unload the model as soon as nobody uses it."""
        with self._lock:
            runner = self.loaded.get(str(model.file))
            if runner is None:
                return
            runner.expires_at, runner.keep_alive = gotime.now(), 0
            if runner.requests == 0:
                self._later(runner, 0)

    def running(self) -> list[Runner]:
        """What is loaded, the longest to stay first."""
        with self._lock:
            return sorted(self.loaded.values(), key=lambda r: -(expiry(r) // gotime.SECOND))

    def _acquire(self, model: Model, options: RunnerOptions, keep_alive: int | None) -> Runner:
        if "vision" in model.capabilities:
            options = RunnerOptions(**{**vars(options), "num_ctx": max(options.num_ctx, 2048)})
        with self._loading:
            if caller.gone():
                raise LoadError("context canceled")
            with self._lock:
                runner = self.loaded.get(str(model.file))
                if runner and runner.serves(model, options):
                    return self._hold(runner, keep_alive)
            if runner:
                self._wait_idle(runner)
            runner = self._load(model, options)
            with self._lock:
                self.loaded[runner.key] = runner
                golog.log("INFO", "sched.go:561", "loaded runners", count=len(self.loaded))
                self._report()
                return self._hold(runner, keep_alive)

    def _hold(self, runner: Runner, keep_alive: int | None) -> Runner:
        if runner.timer:
            runner.timer.cancel()
            runner.timer = None
        if keep_alive is not None:
            runner.keep_alive = keep_alive
        runner.requests += 1
        return runner

    def _release(self, runner: Runner) -> None:
        with self._lock:
            runner.requests -= 1
            if runner.requests:
                return
            if runner.keep_alive > 0:
                runner.expires_at = min(gotime.now() + runner.keep_alive, gotime.FOREVER)
            self._later(runner, runner.keep_alive)

    def _later(self, runner: Runner, nanoseconds: int) -> None:
        """Unload after a while; never where the time is infinite."""
        if nanoseconds >= gotime.FOREVER:
            return
        if runner.timer:
            runner.timer.cancel()
        timer = runner.timer = threading.Timer(
            min(nanoseconds / gotime.SECOND, threading.TIMEOUT_MAX), lambda: self._expired(runner, timer)
        )
        timer.daemon = True
        timer.start()

    def _expired(self, runner: Runner, timer: threading.Timer) -> None:
        with self._lock:
            # Whoever has asked for the model since has set its time anew.
            if runner.timer is timer:
                self._unload(runner)

    def _unload(self, runner: Runner) -> None:
        with self._lock:
            if runner.requests == 0 and self.loaded.get(runner.key) is runner:
                del self.loaded[runner.key]
            self._report()

    def _wait_idle(self, runner: Runner) -> None:
        while True:
            with self._lock:
                if runner.requests == 0:
                    self._unload(runner)
                    return
            threading.Event().wait(0.01)

    # --- loading

    def _load(self, model: Model, options: RunnerOptions) -> Runner:
        header = model.header
        if header is None:
            raise LoadError(f"unable to load model: {model.file}")
        if self.generation.llama_server:
            try:
                payload.require("llama-server")
            except payload.MissingProgramError as error:
                hint = "Run 'cmake -S llama/server --preset cpu && cmake --build --preset cpu' first "
                raise LoadError(f"error starting llama-server: {error}. {hint}") from error
        if self.machine.get("hang_load"):
            threading.Event().wait()
        threading.Event().wait(float(self.machine.get("load_seconds") or 0))
        if reason := self.machine.get("fail_load"):
            golog.log("INFO", "sched.go:505", "Load failed", model=model.file, error=reason)
            raise LoadError(self._failure(str(reason)))
        context = options.num_ctx
        trained = header.number("context_length")
        if trained and context > trained:
            golog.log(
                "WARN",
                "server.go:171",
                "requested context size too large for model",
                num_ctx=context,
                n_ctx_train=trained,
            )
            context = trained
        need = memory.footprint(
            header,
            context=context,
            parallel=self._parallel(model),
            kv_type=self.environment.text("OLLAMA_KV_CACHE_TYPE").lower(),
            pretend=self._pretend(model),
            noise=memory.noise(self.machine.scenario, model.name.shortest),
        )
        layout = self._fit(need, options)
        if layout.host.total > self.machine.memory_free:
            raise LoadError(
                f"model requires more system memory ({golog.human(layout.host.total)}) than is available "
                f"({golog.human(self.machine.memory_free)})"
            )
        loadlog.told(self.generation.llama_server, model, options, layout, self.machine)
        return Runner(model, options, layout, context, self.environment.keep_alive)

    def _fit(self, need: memory.Footprint, options: RunnerOptions) -> memory.Layout:
        gpus = self._devices(options)
        limit = self.environment.count("OLLAMA_MAX_LOADED_MODELS") or 3 * max(len(self.machine.gpus), 1)
        while len(self.loaded) >= limit:
            self._evict()
        while True:
            error: memory.DoesNotFitError | None = None
            layout: memory.Layout | None = None
            try:
                layout = memory.place(
                    need, gpus, self._free(gpus), options.num_gpu, output_first=self.generation.llama_server
                )
            except memory.DoesNotFitError as failure:
                error = failure
            complete = layout and (layout.offloaded == layout.layers or not gpus or options.num_gpu >= 0)
            if layout and (complete or not self.loaded):
                return layout
            if self.loaded:
                self._evict()
                continue
            assert error
            raise LoadError(self._too_big(options.num_gpu, error)) from error

    def _devices(self, options: RunnerOptions) -> list[Gpu]:
        gpus = self.machine.gpus
        if options.main_gpu and options.main_gpu < len(gpus):
            return [gpus[options.main_gpu]]
        return gpus

    def _free(self, gpus: list[Gpu]) -> dict[str, int]:
        overhead = 0 if self.generation.llama_server else self.environment.count("OLLAMA_GPU_OVERHEAD")
        with self._lock:
            taken = [runner.layout.gpus for runner in self.loaded.values()]
        jitter = self._jitter()
        return {
            gpu.id: max(gpu.free - overhead - jitter - sum(t[gpu.id].total for t in taken if gpu.id in t), 0)
            for gpu in gpus
        }

    def _jitter(self) -> int:
        """What others take of each device at this moment."""
        self._moments += 1
        scenario = self.machine.scenario
        width = int(scenario.get("jitter_bytes", 0))
        return random.Random(f"{scenario.get('seed', 0)}:{self._moments}").randint(0, width) if width else 0

    def grow(self, runner: Runner, tokens: int) -> bool:
        """Take what so many tokens in the context need beside the buffers; False where a device has not got it."""
        runner.grown = max(
            runner.grown, memory.late_growth(self.machine.scenario, tokens / max(runner.context, 1))
        )
        self._report()
        # What a model needs to start on a device is taken once per process, so each loaded model has it.
        free = self._free(self.machine.gpus)
        return all(free[gpu] >= memory.CONTEXT_BYTES + runner.grown for gpu in runner.layout.gpus)

    def _report(self) -> None:
        """Write the memory in use to where the scenario says."""
        if not (path := self.machine.get("report_used")):
            return
        with self._lock:
            runners = list(self.loaded.values())
        used = {}
        for place, gpu in self.machine.places:
            held = [(r.layout.gpus[gpu.id].total, r.grown) for r in runners if gpu.id in r.layout.gpus]
            used[str(place)] = sum(size + grown + memory.CONTEXT_BYTES for size, grown in held) // memory.MIB
        try:
            whole = Path(f"{path}.new")
            whole.write_text(json.dumps(used), "utf-8")
            whole.replace(path)  # nobody reads half of it
        except OSError as error:
            golog.log("WARN", "stand-in:1", "cannot report memory", error=error)

    def _evict(self) -> None:
        with self._lock:
            candidates = sorted(self.loaded.values(), key=lambda r: (r.requests, r.keep_alive))
        self._wait_idle(candidates[0])

    def _parallel(self, model: Model) -> int:
        if model.config.get("model_family") in _SERIAL or "completion" not in model.capabilities:
            return 1
        return max(self.environment.count("OLLAMA_NUM_PARALLEL", 1), 1)

    def _pretend(self, model: Model) -> dict[str, object]:
        table = self.machine.get("pretend") or {}
        found = table.get(model.name.shortest) or table.get(model.name.model) or table.get("*") or {}
        return dict(found)

    def _too_big(self, num_gpu: int, error: memory.DoesNotFitError) -> str:
        lines = loadlog.out_of_memory(error)
        if not self.generation.llama_server and not self.generation.estimates:
            return f"memory layout cannot be allocated with num_gpu = {num_gpu}"
        for line in lines:
            golog.raw(line)
        # Of what the engine says, 0.30 and later hand on every line, the oldest the last.
        return self._failure(
            "\n".join(lines) if self.generation.llama_server else "cudaMalloc failed: out of memory"
        )

    def _failure(self, reason: str) -> str:
        if self.generation.llama_server:
            return f"llama-server process has terminated: exit status 1: {reason}"
        return f"llama runner process has terminated: {reason}"


def expiry(runner: Runner) -> int:
    """When the runner is unloaded, in nanoseconds since the epoch."""
    return runner.expires_at or min(gotime.now() + runner.keep_alive, gotime.FOREVER)


def tier(total: int) -> int:
    """The default context length for so many bytes of device memory."""
    if total >= 47 * GIB:
        return 262144
    return 32768 if total >= 23 * GIB else 4096
