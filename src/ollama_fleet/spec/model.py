"""The grammar of fleet.yaml: which keys there are and what may stand in them.

Every key that may be left out may be ``null``: that returns to the default in the ladders of ``merge``.
Keys of the grammar whose behaviour is still to come are listed in ``later``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from ollama_fleet.spec import access_fields, fields
from ollama_fleet.spec.fields import word

GRAMMAR_VERSION = 1


def _words(*words: str) -> WithJsonSchema:
    return WithJsonSchema({"enum": list(words)})


class Section(BaseModel):
    """A map of the file whose keys are fixed; a key that is not listed is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)


class Release(Section):
    """Which Ollama, and where it comes from."""

    version: fields.Version | None = Field(None, description="The release, pinned, such as 0.32.15.")
    source: fields.Mirror | None = Field(
        None,
        description="Where its archives are: `upstream` (the default), the URL of a mirror, or a directory "
        "of the machine that deploys as file:///path.",
    )
    download: (
        Annotated[Literal["host", "controller"], word("host", "controller"), _words("host", "controller")]
        | None
    ) = Field(
        None,
        description="Who fetches the archive: each `host` itself (the default), or the `controller`, once, "
        "which sends it to hosts that have no way out.",
    )


class Firewall(Section):
    """Who may connect to the port."""

    allow_from: fields.Networks | None = Field(
        None, description="Networks and addresses that may connect: [192.168.1.0/24, fd00::/8]."
    )
    enabled: bool | None = Field(
        None,
        description="`true` switches a firewall on where none is, without losing the SSH connection; otherwise one "
        "that is off is left off, and told.",
    )
    backend: (
        Annotated[
            Literal["auto", "ufw", "nftables", "firewalld", "iptables"],
            word("auto", "ufw", "nftables", "firewalld", "iptables"),
            _words("auto", "ufw", "nftables", "firewalld", "iptables"),
        ]
        | None
    ) = Field(
        None,
        description="The firewall whose rules are kept: `auto` (the default) takes the one that is on; a "
        "name demands that one. `iptables` are its legacy tables; what it writes into nftables is nftables'.",
    )


class Acme(Section):
    """Of whom the front door's certificates are asked, with `tls: acme`."""

    server: access_fields.AcmeServer | None = Field(
        None,
        description="The directory of an ACME authority, such as a step-ca of your own; Let's Encrypt if left out.",
    )
    ca: fields.ControllerPath | None = Field(
        None,
        description="The root of that authority in PEM, a file of the machine that deploys; the roots of each system "
        "if left out.",
    )
    email: access_fields.Email | None = Field(None, description="Where the authority writes to.")


class Access(Section):
    """The front door: a proxy that lets in who has a token. Ollama itself listens on loopback only."""

    proxy: Annotated[Literal["caddy", "nginx"], word("caddy", "nginx"), _words("caddy", "nginx")] | None = (
        Field(
            None,
            description="The proxy, from the distribution's packages: `caddy` (if left out), or `nginx`, which "
            "needs a certificate of your own.",
        )
    )
    listen: fields.ListenField | None = Field(
        None, description="Where others connect; [::]:11443 if left out, which is every address of the host."
    )
    tls: (
        Annotated[
            Literal["internal", "none", "acme"],
            word("internal", "none", "acme"),
            _words("internal", "none", "acme"),
        ]
        | None
    ) = Field(
        None,
        description="`internal` (if left out): certificates of an authority of the host's own, whose root clients have "
        "to trust. `acme`: certificates of a public authority or one of your own, for `names`; the door listens on "
        "port 443, and needs no other. `none`: no encryption, tokens and prompts can be read on the way.",
    )
    acme: Acme | None = Field(None, description="Of whom certificates are asked, with `tls: acme`.")
    certificate: fields.ControllerPath | None = Field(
        None,
        description="A certificate of your own with its chain, in PEM, a file of the machine that deploys.",
    )
    key: access_fields.Secret | None = Field(
        None, description="Where its private key is found: file:PATH, or env:NAME."
    )
    names: access_fields.CertificateNames | None = Field(
        None,
        description="DNS names and addresses that clients use beside the host's own; the first stands in client "
        "settings. With `tls: acme` DNS names alone, and the only ones.",
    )
    tokens: access_fields.Tokens | None = Field(
        None,
        description="Who may use the models: NAME of a client to env:NAME or file:PATH, where its token is found.",
    )
    admin_tokens: access_fields.Tokens | None = Field(
        None, description="Who may also pull, create, copy, push and delete models."
    )
    max_body: fields.Bytes | None = Field(
        None,
        description="The largest request; 64MiB if left out. Uploads of blobs by admins are not bound by it.",
    )


class Ssh(Section):
    """How a host is reached over SSH; what is left out comes from the user's own SSH configuration."""

    user: fields.UserName | None = Field(None, description="Login name.")
    port: fields.Port | None = Field(None, description="SSH port.")
    key: fields.ControllerPath | None = Field(
        None, description="Private key on the machine that deploys: absolute, ~/…, or beside this file."
    )
    jump: fields.Address | None = Field(None, description="Host to go through.")
    known_hosts: fields.ControllerPath | None = Field(
        None, description="known_hosts file on the machine that deploys: absolute, ~/…, or beside this file."
    )


class Registry(Section):
    """How a model registry is reached."""

    insecure: fields.Flag | None = Field(None, description="Plain HTTP instead of HTTPS.")
    ca: fields.ControllerPath | None = Field(None, description="Certificate authority of the registry.")
    proxy: Annotated[str, WithJsonSchema({"type": "string"})] | None = Field(
        None, description="Proxy to go through."
    )


class Rollout(Section):
    """In which order hosts get what changes what they serve, and when to stop."""

    batch: fields.HostCount | None = Field(
        None,
        description="Hosts that change at the same time, in the order of the file; 1 if left out. The next ones begin "
        "when these have passed their gate.",
    )
    max_failures: fields.FailureCount | None = Field(
        None,
        description="Hosts that may fail before those that have not begun are left as they are; 0 if left out.",
    )


class Expect(Section):
    """What a placement must reach to count as good; `verify` holds it against the machine."""

    gpu_percent: fields.Percent | None = Field(
        None,
        description="Least share of the model on GPUs, 0 to 100; a false claim of the API does not count.",
    )
    layers: fields.LayerCount | None = Field(
        None, description="Least layers on GPUs, by the engine's own log; the output counts as one."
    )
    tokens_per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="Slowest good answer, in tokens a second for one request."
    )
    max_vram: fields.Bytes | None = Field(
        None, description="Most memory that the model may take on all GPUs together, such as 22GiB."
    )


class ModelSettings(Section):
    """How a model is served: what `per_gpu` and a host may set otherwise than the model itself."""

    size: fields.Size | None = Field(
        None,
        description="Which size of the family in `from`, such as 32b; `auto` for the largest that fits wholly on the "
        "GPUs (with `quantization: auto` size and quantization are weighed against each other).",
    )
    quantization: fields.Quantization | None = Field(
        None,
        description="Which quantization, such as q4_K_M: one of the model's `variants`, of its family, or that of "
        "`from`; a list of those that are acceptable, best first; `auto` for the best that fits.",
    )
    num_ctx: fields.Context | None = Field(
        None,
        description="Context in tokens. Must be said: Ollama's own default depends on the VRAM it finds.",
    )
    num_ctx_min: fields.Context | None = Field(
        None, description="The least context to take where `num_ctx` does not fit; `num_ctx` if left out."
    )
    num_gpu: fields.Layers | None = Field(
        None,
        description="Layers on the GPU; `engine`, the default, leaves it to Ollama; `auto` is as many as fit; 0 is "
        "CPU only.",
    )
    modelfile: fields.TemplateName | None = Field(
        None, description="Template of the Modelfile, NAME for modelfiles/NAME.Modelfile.j2."
    )
    parameters: fields.Parameters | None = Field(
        None,
        description="Parameters of the Modelfile, such as temperature; num_ctx and num_gpu stand outside.",
    )
    system: fields.Prompt | None = Field(None, description="System prompt.")
    template: fields.Prompt | None = Field(None, description="Prompt template, in Ollama's Go notation.")
    preload: fields.Flag | None = Field(
        None, description="Load the model after a deploy and keep room for it."
    )
    keep_alive: fields.KeepAlive | None = Field(
        None, description="How long a preloaded model stays loaded: 24h, or -1 for ever."
    )
    expect: Expect | None = Field(None, description="What the model must reach on the host.")


class Model(ModelSettings):
    """A recipe: what a model is made from and how it is served."""

    from_: fields.Base = Field(
        alias="from",
        description="The base: a name such as deepseek-r1:32b or hf.co/ORG/NAME:Q4_K_M, or a GGUF file "
        "(./NAME.gguf beside this file).",
    )
    variants: dict[fields.QuantizationKey, fields.Base | None] | None = Field(
        None, description="Where quantizations of this model are found: IQ3_M: hf.co/ORG/NAME:IQ3_M."
    )
    per_gpu: dict[fields.GpuKey, ModelSettings | None] | None = Field(
        None, description="Settings for one kind of GPU, or for `cpu`; they win over those of the model."
    )


class Instance(Section):
    """One of several servers of a host."""

    name: fields.InstanceName = Field(description="Its name; the unit is ollama@NAME.service.")
    devices: fields.InstanceDevices = Field(
        description="Its GPUs, each by UUID (GPU-…, as `nvidia-smi -L` shows it) or by kind (rtx-4090); [] for the "
        "CPU alone."
    )
    port: fields.Port | None = Field(
        None, description="Its port; if left out that of `listen`, plus its place in the list."
    )
    env: fields.Environment | None = Field(
        None, description="Variables of this server beside those of the host, over which they win."
    )
    models: fields.ModelNames | None = Field(
        None, description="Which of the host's models it serves; all of them if left out."
    )


class HostSettings(Section):
    """What defaults, groups and hosts can set; later wins: defaults, groups in file order, host."""

    release: Release | None = Field(None, description="Which Ollama; wins over the release of the fleet.")
    listen: fields.ListenField | None = Field(
        None, description="Address and port of the server (OLLAMA_HOST); 127.0.0.1:11434 if left out."
    )
    models_dir: fields.ModelsDir | None = Field(
        None,
        description="Directory of the models (OLLAMA_MODELS), such as /srv/ollama/models or D:\\Models\\OllamaModels; "
        "if left out, that of the service's user, on Windows C:\\ProgramData\\Ollama\\models.",
    )
    env: fields.Environment | None = Field(None, description="Environment variables of the server.")
    firewall: Firewall | None = Field(None, description="Who may connect to the port.")
    access: Access | None = Field(
        None, description="A front door with tokens and TLS; Ollama itself then listens on loopback only."
    )
    expose: fields.Flag | None = Field(
        None, description="true says that everybody who reaches the port may use, change and delete models."
    )
    scope: fields.Scope | None = Field(
        None,
        description="`system` (the default), or `user` where there is no root: all under the user's home.",
    )
    sudo: fields.Flag | None = Field(None, description="Become root by sudo.")
    ssh: Ssh | None = Field(None, description="How the host is reached.")
    gpus: fields.Gpus | None = Field(
        None,
        description="The GPUs, one name per card: [rtx-4090, rtx-4090]; [] for none; auto looks at the host.",
    )
    os: (
        Annotated[Literal["linux", "windows"], word("linux", "windows"), _words("linux", "windows")] | None
    ) = Field(
        None,
        description="linux (if left out) or windows: Windows 10, 11, Server 2019 or later, with OpenSSH.",
    )
    arch: Annotated[Literal["amd64", "arm64"], word("amd64", "arm64"), _words("amd64", "arm64")] | None = (
        Field(None, description="Processor, where it shall be known without asking the host.")
    )
    verify: (
        Annotated[
            Literal["quick", "load", "full"], word("quick", "load", "full"), _words("quick", "load", "full")
        ]
        | None
    ) = Field(
        None,
        description="How deep an apply proves what it has changed: `quick` loads nothing, `load` (the default) lets "
        "each model that has changed answer, `full` loads each anew and measures its memory.",
    )
    instances: Annotated[list[Instance], fields.OrOneWord(), fields.AlsoCount()] | None = Field(
        None,
        description="Ollama servers on the host: 1 (the default), `per-gpu` for one on each GPU, at ports counted from "
        "that of `listen`, or a list.",
    )
    prune: Annotated[bool | str, fields.PRUNE, WithJsonSchema({"enum": ["report", False, True]})] | None = (
        Field(None, description="Wins over the `prune` of the fleet.")
    )


class Defaults(HostSettings):
    """What holds for every host unless its groups or the host say otherwise."""


class Group(HostSettings):
    """Hosts that share settings and models."""

    hosts: fields.HostNames = Field(description="The hosts of the group.")
    models: fields.ModelNames | None = Field(None, description="Models that each of its hosts serves.")


class Host(HostSettings):
    """One machine."""

    address: fields.Address | None = Field(
        None,
        description="IP address or DNS name, or @local for the machine that deploys; else the host's name.",
    )
    models: (
        Annotated[dict[fields.ModelKey, ModelSettings | None], fields.AskedModels, fields.AlsoList()] | None
    ) = Field(
        None, description="Models the host serves beside those of its groups: a list, or a map with settings."
    )


class FleetFile(Section):
    """A fleet: which machines there are and which models they serve."""

    version: Annotated[int, fields.GRAMMAR, WithJsonSchema({"const": GRAMMAR_VERSION})] = Field(
        description="Version of this grammar: 1."
    )
    release: Release | None = Field(None, description="Which Ollama all hosts get.")
    defaults: Defaults | None = Field(None, description="Settings of every host.")
    models: dict[fields.ModelKey, Model] | None = Field(None, description="The models, by the name they get.")
    groups: dict[fields.GroupKey, Group] | None = Field(
        None, description="Hosts that share settings and models."
    )
    hosts: dict[fields.HostKey, Host | None] = Field(
        description="The machines, by name.", json_schema_extra={"minProperties": 1}
    )
    registries: dict[fields.RegistryKey, Registry | None] | None = Field(
        None, description="Registries that need settings, by HOST or HOST:PORT."
    )
    rollout: Rollout | None = Field(
        None, description="Hosts change in batches; without it all change at the same time."
    )
    prune: Annotated[bool | str, fields.PRUNE, WithJsonSchema({"enum": ["report", False, True]})] | None = (
        Field(
            None,
            description="Models, old releases and files of ours on hosts that nobody declares any more: `report` (the "
            "default) names them with their sizes, true removes them at the end of an apply, false does neither.",
        )
    )
