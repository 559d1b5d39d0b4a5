"""Every option of `skipjoin serve`, once.

Owns `ServeSettings`: one field per option, from which flags (`serving/flags.py`), SKIPJOIN_*
variables and the keys of the settings file follow. An option stands in the class of its group,
which is its heading in `skipjoin serve --help`; all groups are one model, with one space of names.
It does not know what the options do. The command line builds it; door, engine process and wiring
read it.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping, Set
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from ..core.errors import InvalidInput, InvalidSettings
from ..engine.params import MOST_ITERATION_MS
from ..model.source.hub import STALL_S
from ..model.source.model_place import find_model, names_of
from ..scheduler.adaptive.head_start import DEFAULT_TAIL
from .door.policies import check_policy

ENV_PREFIX = "SKIPJOIN_"
MAX_KV_TOKENS = 2**30
MAX_BYTES = 2**40
_HOST_NAME = re.compile(r"\*|[A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]", re.ASCII)
MAX_S = 10 * 366 * 86_400
MAX_NAME = 256
MAX_NAMES = 64


def state_folder() -> Path:
    """Where files that outlive the server go unless a setting says otherwise (XDG)."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "skipjoin"


class ModelSettings(BaseModel):
    """What is served, and what computes it."""

    model: str | None = Field(
        None,
        description="Folder of a Hugging Face model, or its id on the hub, org/name (families: docs/models.md);"
        " not needed by the simulated executor",
    )
    revision: str | None = Field(None, description="Branch, tag or commit of a model of the hub; default: main")
    served_model_name: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Name by which HTTP clients call the model; may be repeated; default: the id on the hub, or "
        "the folder's name",
    )
    hub_stall_s: float = Field(
        STALL_S, gt=0, le=3600, description="A download from the hub that brings nothing new for so long is given up"
    )
    executor: Literal["torch", "simulated"] = Field(
        "torch", description="Who computes; simulated needs no torch and makes up tokens"
    )
    device: str = Field("auto", description="cpu, cuda, cuda:N, or auto")
    dtype: Literal["auto", "float64", "float32", "float16", "bfloat16"] = Field(
        "auto", description="Type of weights and KV"
    )
    threads: int | None = Field(
        None, ge=1, le=1024, description="CPU threads of the engine; default: both cores of two, else all but one"
    )
    tensor_parallel: int = Field(
        1,
        ge=1,
        le=8,
        description="Ranks that share the model's layers, each with a device of its own or a part of the CPU's threads",
    )
    pipeline_parallel: int = Field(
        1,
        ge=1,
        le=16,
        description="Stages between which the model's layers are divided, each of as many ranks as "
        "--tensor-parallel says",
    )
    cuda_graphs: bool = Field(True, description="Replay decode iterations as CUDA graphs; without effect on a CPU")
    profile: str | None = Field(
        None, description="Cost profile: a file, a shipped name, or roofline; default: measured at start and cached"
    )
    simulated_scale: float = Field(
        1.0, ge=0.0, le=1000.0, description="Simulated executor: sleep this many times the predicted time"
    )

    @property
    def world(self) -> int:
        """Processes that compute the model together."""
        return self.tensor_parallel * self.pipeline_parallel

    @field_validator("model", mode="before")
    @classmethod
    def _path_is_text(cls, value: object) -> object:
        """A Path is a folder: one like Path("./name"), which keeps no dot, must not be taken for an
        id of the hub.
        """
        if not isinstance(value, Path):
            return value
        text = str(value)
        return text if value.is_absolute() or text.startswith("~") else os.path.join(".", text)

    @field_validator("served_model_name", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        """A list, or one text with commas, as a variable has it."""
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("served_model_name")
    @classmethod
    def _plain_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not 1 <= len(name) <= MAX_NAME or not name.isprintable() or name != name.strip():
                raise ValueError(f"a name has 1 to {MAX_NAME} printable characters, none of them at its ends a space")
        if len(value) > MAX_NAMES:
            raise ValueError(f"must be at most {MAX_NAMES} names")
        return tuple(dict.fromkeys(value))

    @property
    def folder(self) -> Path | None:
        """The folder of the model, once `located` has found it."""
        return None if self.model is None else Path(self.model)

    @property
    def names(self) -> tuple[str, ...]:
        """What clients call the model, the usual name first."""
        if self.served_model_name:
            return self.served_model_name
        return ("simulated",) if self.model is None else names_of(Path(self.model))


class RankSettings(BaseModel):
    """Where the ranks of a model run, and how those of other machines get to the first."""

    ranks: Literal["local", "ray", "env"] = Field(
        "local",
        description="Who starts the other ranks of a model: local, the engine on this machine;"
        " ray, a Ray cluster that has room; env, somebody on any machine, with torchrun's variables",
    )
    ranks_listen: str | None = Field(
        None,
        description="HOST:PORT at which rank 0 hears ranks of other machines; default: MASTER_ADDR and MASTER_PORT,"
        " a free port of loopback with Ray",
    )
    ranks_secret: Path | None = Field(
        None, description="File of the secret that all ranks share; needed for --ranks env"
    )
    ranks_wait_s: float = Field(
        60.0, gt=0, le=86_400, description="An engine whose ranks are not all there by then is given up"
    )
    rank_stall_s: float = Field(
        5.0,
        gt=0,
        le=86_400,
        description="An engine of several ranks that says nothing for this long, and ten times as long as its slow "
        "steps, is killed",
    )

    @field_validator("ranks_listen")
    @classmethod
    def _chosen_address(cls, value: str | None) -> str | None:
        """One by which the others reach this machine: collectives meet there."""
        if value is not None and split_address(value)[0] in ("0.0.0.0", "::"):
            raise ValueError("must be one address of this machine, not all of them")
        return value


class DoorSettings(BaseModel):
    """Where clients and operators reach the server, and what their connections may hold."""

    listen: str = Field("127.0.0.1:50071", description="HOST:PORT of gRPC; port 0 takes a free one")
    http_listen: str | None = Field(
        "127.0.0.1:50080", description="HOST:PORT of the OpenAI-style HTTP door and /metrics; empty or off for none"
    )
    admin_socket: Path | None = Field(
        None, description="Unix socket of the operator's service; default in the user's state folder"
    )
    max_message_bytes: int = Field(4 * 2**20, ge=2**12, le=2**28, description="Largest message a client may send")
    payload_bytes: int | None = Field(
        None,
        ge=2**13,
        le=MAX_BYTES,
        description="Bytes of requests being taken in, over all calls; default: 16 times max_message_bytes",
    )
    max_connections: int = Field(
        4096,
        ge=32,
        le=100_000,
        description="Connections open at a time, of each door; fewer where the limit on open files is low",
    )
    header_timeout_s: float = Field(
        10.0, gt=0, le=3600, description="The headers of an HTTP request arrive within this time"
    )
    body_timeout_s: float = Field(
        60.0, gt=0, le=3600, description="The body of an HTTP request arrives within this time"
    )
    keepalive_s: float = Field(
        75.0, gt=0, le=86_400, description="An HTTP connection is closed after this long without a request"
    )
    handshake_timeout_s: float = Field(
        10.0, gt=0, le=3600, description="A connection's handshake, TLS included, is done within this time"
    )
    grpc_idle_s: float = Field(
        1800.0, gt=0, le=86_400, description="A gRPC connection is closed after this long without a call"
    )
    message_timeout_s: float = Field(
        20.0, gt=0, le=3600, description="The message of a gRPC call arrives within this time"
    )
    max_slow_messages: int = Field(
        2,
        ge=1,
        le=1024,
        description="Slow or long messages of one gRPC connection while half of the room for them is taken",
    )
    max_message_fields: int = Field(
        2**15,
        ge=2**10,
        le=2**24,
        description="Fields of a gRPC message of 64 KiB or more, those of messages inside it too",
    )
    stream_comment_s: float = Field(
        15.0, gt=0, le=3600, description="How often a waiting HTTP stream is sent a comment, so that proxies keep it"
    )
    allowed_hosts: str = Field(
        "", description="Names beyond localhost by which HTTP clients may call, separated by commas; * for any"
    )
    max_streams: int = Field(
        1000, ge=1, le=100_000, description="Calls open at a time, over gRPC in all and over HTTP in all"
    )
    max_connection_calls: int = Field(
        128,
        ge=100,
        le=100_000,
        description="Calls open at a time on one gRPC connection; further ones need another connection",
    )
    max_call_wait_ms: float = Field(
        150.0,
        ge=0,
        le=60_000,
        description="Milliseconds that gRPC calls may wait to be taken in; beyond it most newcomers are refused",
    )
    call_cap_s: float = Field(
        3600.0, gt=0, le=86_400, description="No call lasts longer, whatever deadline the client set"
    )

    @field_validator("http_listen", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        """`off` as well: a variable that is empty counts as not there."""
        return None if isinstance(value, str) and value.lower() in ("", "off") else value

    @field_validator("listen", "http_listen")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None:
            split_address(value)
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _host_names(cls, value: str) -> str:
        for name in filter(None, (part.strip() for part in value.split(","))):
            if not _HOST_NAME.fullmatch(name):
                raise ValueError("must be names without ports, separated by commas")
        return value

    @property
    def allowed_host_names(self) -> tuple[str, ...]:
        """The names, each by itself."""
        return tuple(filter(None, (part.strip() for part in self.allowed_hosts.split(","))))

    @model_validator(mode="after")
    def _room_for_messages(self) -> Self:
        # Of several tenants each has more than half of the bound, and the largest message must fit
        # into that.
        if self.payload_bytes is not None and self.payload_bytes < 2 * self.max_message_bytes:
            raise ValueError("payload_bytes: must be at least twice max_message_bytes")
        return self

    @property
    def payload_limit(self) -> int:
        """Bytes of requests that may be in the taking at a time."""
        return 16 * self.max_message_bytes if self.payload_bytes is None else self.payload_bytes


class SchedulingSettings(BaseModel):
    """Who runs, and how much of it in one iteration."""

    policy: str = Field(
        "adaptive", description="Scheduling policy: adaptive, skipjoin, fcfs, or another that docs/algorithm.md has"
    )
    tail: float = Field(
        DEFAULT_TAIL, ge=0.0, le=1.0, description="Dial of the policy adaptive: 0 lowest mean, 1 safest tail"
    )
    starvation: Literal["granted", "off", "paper"] = Field(
        "granted", description="How jobs that wait long are promoted under skipjoin and mlfq"
    )
    max_batch: int = Field(64, ge=1, le=4096, description="Jobs in one iteration at most")
    max_prefill_tokens: int = Field(2048, ge=1, le=2**20, description="Prompt tokens in one iteration at most")
    iteration_ms: float = Field(
        75.0, ge=0, le=MOST_ITERATION_MS, description="Milliseconds to which prompts may stretch an iteration"
    )
    run_ahead: Literal["auto", "on", "off"] = Field(
        "auto", description="Launch an unchanged batch again before its tokens are known; auto: on a GPU"
    )

    @field_validator("policy")
    @classmethod
    def _known_policy(cls, value: str) -> str:
        try:
            check_policy(value)
        except InvalidInput as refused:
            raise ValueError(f"{refused.message.rstrip('.')}; must be {refused.limit}") from None
        return value


class MemorySettings(BaseModel):
    """Room for keys and values, and for prompts on their way to the engine."""

    kv_tokens: int | None = Field(
        None, ge=16, le=MAX_KV_TOKENS, description="Tokens of KV on the device; default: what the device has room for"
    )
    host_kv_tokens: int | None = Field(
        None, ge=0, le=MAX_KV_TOKENS, description="Tokens of KV in host memory; default: four times the device's"
    )
    kv_mode: Literal["proactive", "reactive", "recompute"] = Field(
        "proactive", description="How KV of preempted jobs is kept"
    )
    prompts_ahead_bytes: int = Field(
        64 * 2**20, ge=2**16, le=MAX_BYTES, description="Bytes of prompts sent to the engine before it asks"
    )
    held_prompt_bytes: int = Field(
        512 * 2**20, ge=2**20, le=MAX_BYTES, description="Bytes of claimed prompts the door holds at most"
    )
    unflushed_bytes: int = Field(
        8 * 2**20, ge=2**12, le=MAX_BYTES, description="Bytes not yet in the token log at which the engine pauses"
    )


class LimitSettings(BaseModel):
    """How many jobs there may be, how long, and for how long."""

    default_max_new_tokens: int = Field(
        1024, ge=1, le=2**20, description="Cap of max_new_tokens where a request leaves it out"
    )
    max_queued_jobs: int = Field(
        10_000, ge=1, le=10_000_000, description="Jobs waiting or running before Submit answers RESOURCE_EXHAUSTED"
    )
    max_engine_jobs: int = Field(
        10_000, ge=1, le=1_000_000, description="Jobs the engine ranks at a time; others wait in the pool"
    )
    job_cap_s: float = Field(86_400.0, gt=0, le=30 * 86_400, description="No job lives longer before it expires")
    prompt_wait_s: float = Field(
        10.0, gt=0, le=3600, description="A prompt that would wait longer than this to be encoded is refused"
    )
    template_time_s: float = Field(
        2.0, ge=0.01, le=600, description="Longest time that the model's chat template may take for a conversation"
    )
    template_memory_bytes: int = Field(
        200_000_000, ge=50_000_000, le=MAX_BYTES, description="Memory of the process that renders chat templates"
    )


class PoolSettings(BaseModel):
    """Where jobs are kept, and until when."""

    job_pool: str = Field("", description="memory, or sqlite:PATH; default sqlite in the user's state folder")
    retention_s: float = Field(86_400.0, ge=1, le=MAX_S, description="Ended jobs are kept this long")
    sweep_s: float = Field(
        30.0, gt=0, le=86_400, description="How often old jobs are looked for, and the queue is counted"
    )

    @field_validator("job_pool")
    @classmethod
    def _pool(cls, value: str) -> str:
        if value in ("", "memory") or (value.startswith("sqlite:") and len(value) > len("sqlite:")):
            return value
        raise ValueError("must be memory or sqlite:PATH")


class SecuritySettings(BaseModel):
    """Who may ask, and over what network."""

    tls_cert: Path | None = Field(None, description="PEM certificate chain; needs --tls-key")
    tls_key: Path | None = Field(None, description="PEM private key; needs --tls-cert")
    tokens: Path | None = Field(None, description="File of access tokens, a line each: TENANT SHA256-OF-TOKEN")
    insecure: bool = Field(False, description="Allow a non-loopback address without TLS and tokens")


class LifeSettings(BaseModel):
    """How the server starts, ends, and replaces an engine that died."""

    drain_s: float = Field(
        30.0, ge=0, le=86_400, description="After SIGTERM running jobs have this long to finish; then they are parked"
    )
    stall_s: float = Field(
        15.0,
        gt=0,
        le=86_400,
        description="An engine that says nothing for this long is killed and restarted",
    )
    start_stall_s: float = Field(
        30.0,
        gt=0,
        le=86_400,
        description="An engine that starts and makes no progress for this long is killed and restarted",
    )
    spare_engine: bool = Field(
        True, description="Keep a process ready from which the next engine is forked when one dies"
    )
    restart_backoff_s: float = Field(
        10.0, ge=0, le=3600, description="Longest wait before a dead engine is started again"
    )
    check: bool = Field(False, description="Load everything, print the start line and exit")


class LoggingSettings(BaseModel):
    """What the server says of itself."""

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged")
    log_format: Literal["text", "json"] = Field("text", description="Form of a log line")


class DebuggingSettings(BaseModel):
    """What a developer looks into."""

    record: Path | None = Field(
        None, description="Write the engine's turns to this file, for `skipjoin simulate --replay`"
    )
    preempt_every_turn: bool = Field(False, description="Debug: no job runs two iterations in a row while another can")
    validate_every_turn: bool = Field(
        False, description="Debug: check after every iteration that the engine's books agree, not only when it is idle"
    )


GROUPS: Mapping[str, type[BaseModel]] = {
    "model": ModelSettings,
    "ranks": RankSettings,
    "doors": DoorSettings,
    "scheduling": SchedulingSettings,
    "memory": MemorySettings,
    "limits": LimitSettings,
    "job pool": PoolSettings,
    "security": SecuritySettings,
    "starting and stopping": LifeSettings,
    "logging": LoggingSettings,
    "debugging": DebuggingSettings,
}
"""The groups of options by their titles, in the order in which help shows them. Every option stands
in exactly one.
"""


class ServeSettings(
    DebuggingSettings,
    LoggingSettings,
    LifeSettings,
    SecuritySettings,
    PoolSettings,
    LimitSettings,
    MemorySettings,
    SchedulingSettings,
    DoorSettings,
    RankSettings,
    ModelSettings,
    BaseSettings,
):
    """Options of the server; see each field's description. Built by `load_settings`, which turns
    what is wrong into InvalidSettings.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        env_ignore_empty=True,
        nested_model_default_partial_update=False,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags come as init values, the environment after them; `load_settings` lays the file
        below both.
        """
        return init_settings, env_settings

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.executor == "torch" and self.model is None:
            raise ValueError(
                "model: say which, a folder or an id of the hub: `skipjoin serve MODEL`; or --executor simulated"
            )
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert: tls_cert and tls_key go together")
        if self.ranks == "env" and self.ranks_secret is None:
            raise ValueError("ranks_secret: ranks that come over the network need a secret; name its file")
        for field in ("listen", "http_listen"):
            address = getattr(self, field)
            if address is None or self.insecure or is_loopback(split_address(address)[0]):
                continue
            if self.tls_cert is None or self.tokens is None:
                raise ValueError(
                    f"{field}: {address} can be reached from other machines; give --tls-cert, --tls-key and "
                    "--tokens, or --insecure"
                )
        return self

    @property
    def admin_path(self) -> Path:
        """The operator's socket."""
        return self.admin_socket or state_folder() / "admin.sock"

    @property
    def pool_path(self) -> Path | None:
        """Path of the SQLite file; None for the memory pool."""
        if self.job_pool == "memory":
            return None
        return Path(self.job_pool.removeprefix("sqlite:")) if self.job_pool else state_folder() / "jobs.sqlite"


OTHER_VARIABLES = frozenset({"TARGET", "TOKEN", "BENCH_DATA", "NATIVE", "SOAK_KILLS"})
"""Of the clients, the bench, the kernels and the tests; with the prefix, and no setting of the
server.
"""
_SERVICE = re.compile(
    r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)=.*|(\w+_)?PORT=(tcp|udp|sctp)://.*"
)
"""What Kubernetes and Docker put into the environment of everything beside a service that is called
skipjoin.
"""


def check_environment(environ: Mapping[str, str]) -> None:
    """Every variable SKIPJOIN_* is a setting or one of `OTHER_VARIABLES`; an empty one counts as
    not there. Raises InvalidSettings.
    """
    for variable in sorted(environ):
        name = variable.upper().removeprefix(ENV_PREFIX)
        if name == variable.upper() or not environ[variable] or name in OTHER_VARIABLES:
            continue
        if _SERVICE.fullmatch(f"{name}={environ[variable]}"):
            continue
        if name.lower() not in ServeSettings.model_fields:
            known = [*(field.upper() for field in ServeSettings.model_fields), *OTHER_VARIABLES]
            like = get_close_matches(name, known, n=1)
            hint = f" Is it {ENV_PREFIX}{like[0]}?" if like else ""
            raise InvalidSettings(f"The environment has {variable}, which is no setting.{hint}", field=variable)


def load_settings(flags: Mapping[str, Any], file: Path | None = None) -> ServeSettings:
    """Settings from file < SKIPJOIN_* < flags. `flags` holds only what was given.

    Raises InvalidSettings naming the field, and the file or the variable if it stands there.
    """
    check_environment(os.environ)
    below = _read_file(file) if file is not None else {}
    unknown = sorted(set(below) - set(ServeSettings.model_fields))
    if unknown and file is not None:
        like = get_close_matches(unknown[0], ServeSettings.model_fields, n=1)
        hint = f" Is it {like[0]}?" if like else ""
        raise InvalidSettings(f"{file.name} has an unknown key: {unknown[0]}.{hint}", field=unknown[0])
    set_variables = {variable.upper() for variable, value in os.environ.items() if value}
    environ = {name for name in ServeSettings.model_fields if f"{ENV_PREFIX}{name.upper()}" in set_variables}
    from_file = {name: value for name, value in below.items() if name not in environ and name not in flags}
    try:
        return ServeSettings(**from_file | dict(flags))
    except ValidationError as error:
        raise _said_plainly(error, from_file, "" if file is None else file.name, environ - set(flags)) from None


def located(settings: ServeSettings) -> ServeSettings:
    """The same settings with the model as a folder that is there, downloaded where it is one of the
    hub; its names are kept.

    Door and engines, restarted ones too, then read one folder. Raises InvalidModel, NotFound,
    Denied, Unavailable.
    """
    if settings.model is None:
        return settings
    place = find_model(settings.model, settings.revision, stall_s=settings.hub_stall_s)
    names = settings.served_model_name or place.names
    return settings.model_copy(update={"model": str(place.folder), "revision": None, "served_model_name": names})


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as bad:
        line = bad.object[: bad.start].count(b"\n") + 1
        raise InvalidSettings(f"{path.name}, line {line} is not UTF-8.", field="settings") from None
    except OSError as error:
        raise InvalidSettings(f"--settings {path.name} cannot be read: {error.strerror}.", field="settings") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidSettings(f"{path.name} is no TOML file: {error}.", field="settings") from None


def _said_plainly(
    error: ValidationError, from_file: Mapping[str, Any], file: str, from_environ: Set[str]
) -> InvalidSettings:
    """The first thing wrong, with its field, and where it stands if that is the file or the
    environment.
    """
    first = error.errors(include_url=False, include_input=False)[0]
    message = str(first["msg"]).removeprefix("Value error, ")
    field = str(first["loc"][0]) if first["loc"] else message.partition(":")[0]
    place = f"{file}: " if field in from_file else ""
    variable = f" ({ENV_PREFIX}{field.upper()} in the environment)" if field in from_environ else ""
    return InvalidSettings(f"{place}{field}: {message.removeprefix(field + ': ')}{variable}.", field=field)


def split_address(address: str) -> tuple[str, int]:
    """('host', port) of HOST:PORT; raises ValueError."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 <= int(port) <= 65_535:
        raise ValueError("must be HOST:PORT with a port of 0..65535")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
