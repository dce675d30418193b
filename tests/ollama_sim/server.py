"""`ollama serve`: the start with its log, and the end."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from ollama_sim import golog, origins
from ollama_sim.environ import Environment
from ollama_sim.golog import human
from ollama_sim.handlers import Api
from ollama_sim.release import Release
from ollama_sim.scheduler import tier
from ollama_sim.store import PRUNE_GRACE_SECONDS
from ollama_sim.web import ListenError, Server


def serve(environment: Environment, release: Release) -> int:
    """Run the server until it is told to stop; the exit status."""
    golog.threshold = environment.log_level
    api = Api(environment, release)
    match api.desk.machine.get("start"):
        case "exit":
            print("Error: the stand-in was told to fail at its start", file=sys.stderr)
            return 1
        case "exit-on-models" if api.desk.store.all():
            print("Error: the stand-in was told to fail where there are models", file=sys.stderr)
            return 1
        case "hang":
            threading.Event().wait()
    try:
        server = Server(environment, api)
    except ListenError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    _announce(environment, api)
    try:
        _prune(environment, api)
        origins.check(environment.origins)
    except origins.BadOriginError as error:
        print(f"panic: {error}\n\ngoroutine 1 [running]:", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"Error: {_untraversable(environment.models, error)}", file=sys.stderr)
        server.server_close()
        return 1
    golog.log("INFO", "routes.go:1884", f"Listening on {server.shown} (version {release.version})")
    _inventory(environment, api)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.05)
    server.server_close()
    return 0


def _announce(environment: Environment, api: Api) -> None:
    values = environment.effective(api.desk.generation)
    shown = "map[" + " ".join(f"{key}:{values[key]}" for key in sorted(values)) + "]"
    golog.log("INFO", "routes.go:1828", "server config", env=shown)
    off = "true" if environment.flag("OLLAMA_NO_CLOUD") else "false"
    golog.log("INFO", "routes.go:1830", f"Ollama cloud disabled: {off}")


def _untraversable(models: Path, error: OSError) -> str:
    """What is said of a models folder that cannot be made: the element at which it failed."""
    path = models / "blobs"
    while not path.parent.exists():
        path = path.parent
    failed = path if path.parent.is_dir() else path.parent
    return f"mkdir {failed}: {(error.strerror or str(error)).lower()}: ensure path elements are traversable"


def _prune(environment: Environment, api: Api) -> None:
    store = api.desk.store
    _ = store.blobs
    if environment.flag("OLLAMA_NOPRUNE"):
        return
    try:
        store.all(strict=True)
    except ValueError as error:
        golog.log(
            "WARN",
            "routes.go:1844",
            "corrupt manifests detected, skipping prune operation.  Re-pull or delete to clear",
            error=error,
        )
        return
    store.prune(PRUNE_GRACE_SECONDS if api.desk.generation.prune_grace else 0)


def _inventory(environment: Environment, api: Api) -> None:
    """What the server found to compute on."""
    gpus = sorted(api.desk.machine.gpus, key=lambda gpu: -gpu.free)
    for gpu in gpus:
        golog.log(
            "INFO",
            "types.go:42",
            "inference compute",
            id=gpu.id,
            filter_id="",
            library=gpu.library,
            compute=gpu.compute,
            name=f"{gpu.library}{gpus.index(gpu)}",
            description=gpu.name,
            libdirs=f"ollama,{gpu.library.lower()}_v{gpu.driver.partition('.')[0]}",
            driver=gpu.driver,
            pci_id=gpu.pci,
            type="iGPU" if gpu.integrated else "discrete",
            total=human(gpu.memory),
            available=human(gpu.free),
        )
    if not gpus:
        golog.log(
            "INFO",
            "types.go:60",
            "inference compute",
            id="cpu",
            library="cpu",
            compute="",
            name="cpu",
            description="cpu",
            libdirs="ollama",
            driver="",
            pci_id="",
            type="",
            total=human(api.desk.machine.memory),
            available=human(api.desk.machine.memory_free),
        )
    total = sum(gpu.memory - environment.count("OLLAMA_GPU_OVERHEAD") for gpu in gpus)
    golog.log(
        "INFO",
        "routes.go:1934",
        "vram-based default context",
        total_vram=human(total),
        default_num_ctx=tier(total),
    )


def rename_process() -> None:
    """Let the process be called `ollama`, not after the interpreter."""
    try:
        Path("/proc/self/comm").write_text("ollama", "ascii")
    except OSError:
        return


def keypair(environment: Environment) -> None:
    """The key that the first start leaves in the home folder; the stand-in's opens nothing."""
    private = environment.home / ".ollama" / "id_ed25519"
    try:
        private.stat()
    except FileNotFoundError:
        pass
    except OSError:
        return
    else:
        return
    print(f"Couldn't find '{private}'. Generating new private key.")
    private.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    handle = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write("-----BEGIN OPENSSH PRIVATE KEY-----\nstand-in\n-----END OPENSSH PRIVATE KEY-----\n")
    public = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHN0YW5kLWlu"
    private.with_suffix(".pub").write_text(public + "\n", "ascii")
    print(f"Your new public key is: \n\n{public}\n")
