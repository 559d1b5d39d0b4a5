"""Who the peers are.

Owns the table: name, what is pinned for it, what speaks for it offline and where it computes, how
its server is started. It starts and installs nothing; `install`, `runner` and `server` read it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...core.errors import InvalidSettings

REQUIREMENTS = Path(__file__).parent / "requirements"
DEVICES = ("cpu", "cuda")
CPU_FLOAT32 = {"cpu": ("float32",)}
EVERYWHERE = dict.fromkeys(DEVICES, ("float32", "bfloat16", "float16"))
TCMALLOC = "libtcmalloc_minimal.so.4"
LIBRARY_FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib")
_STEERING = ("SKIPJOIN_", "OMP_", "KMP_", "MKL_", "VLLM_", "CT2_")
_LEFT_OUT = (*_STEERING, "LD_PRELOAD", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


@dataclass(frozen=True, slots=True)
class Machine:
    """What a peer may use: CPU threads, GiB for KV, and two folders of its own."""

    threads: int
    kv_gib: int
    prefix: Path
    kept: Path


@dataclass(frozen=True, slots=True)
class ServeWish:
    """What a peer's server shall be."""

    model: Path
    port: int
    #: Requests that run at once.
    slots: int
    #: The longest prompt plus output.
    context_tokens: int


@dataclass(frozen=True, slots=True)
class Peer:
    """Another engine or server."""

    name: str
    title: str
    distribution: str
    #: The module in this folder that decodes offline; None: it only serves.
    runner: str | None
    #: The words behind its interpreter; None: it only decodes.
    serve: Callable[[ServeWish], list[str]] | None = None
    #: What it wants set besides.
    environment: Callable[[Machine], Mapping[str, str]] = lambda _: {}
    #: Device -> precisions of what is pinned for it.
    computes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: CPU_FLOAT32)
    #: The peer whose pins and environment are its own too.
    shares: str | None = None

    @property
    def pinned_as(self) -> str:
        """The name of its pins and its environment."""
        return self.shares or self.name

    @property
    def requirements(self) -> Path:
        return REQUIREMENTS / f"{self.pinned_as}.txt"

    @property
    def alone(self) -> Path | None:
        """Requirements installed before those, without their own; None: there are none."""
        path = REQUIREMENTS / f"{self.pinned_as}.alone.txt"
        return path if path.is_file() else None

    def unable(self, device: str, dtype: str | None = None) -> str | None:
        """Why it cannot compute on the device (in the precision); None when it can."""
        if device not in self.computes:
            return f"not on this device: what is pinned computes on {', '.join(self.computes)}, not on {device}"
        if dtype is not None and dtype not in self.computes[device]:
            return f"not in this precision: computes in {', '.join(self.computes[device])} on {device}, not in {dtype}"
        return None


def clean_environment(threads: int, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what would steer a peer by chance, then `more`.

    No downloads, no reports home, `threads` for OpenMP.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_LEFT_OUT)}
    own = {
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",
        "PYTHONNOUSERSITE": "1",
        "HF_HUB_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": str(threads),
    }
    return inherited | own | dict(more or {})


def vllm_cpu(machine: Machine) -> Mapping[str, str]:
    """As its manual asks: threads bound, Intel's OpenMP and tcmalloc loaded first."""
    processors = sorted(os.sched_getaffinity(0))[: machine.threads]
    first = [machine.prefix / "lib" / "libiomp5.so", *(Path(folder) / TCMALLOC for folder in LIBRARY_FOLDERS)]
    return {
        "LD_PRELOAD": ":".join(str(path) for path in first if path.is_file()),
        "VLLM_CPU_OMP_THREADS_BIND": ",".join(str(processor) for processor in processors),
        "VLLM_CPU_KVCACHE_SPACE": str(machine.kv_gib),
        "VLLM_CACHE_ROOT": str(machine.kept / "compiled"),
        "VLLM_NO_USAGE_STATS": "1",
    }


def _serve_vllm(wish: ServeWish) -> list[str]:
    return [
        *("-m", "vllm.entrypoints.openai.api_server", "--model", str(wish.model), "--served-model-name", "model"),
        *("--host", "127.0.0.1", "--port", str(wish.port), "--dtype", "float32"),
        *("--max-num-seqs", str(wish.slots), "--max-model-len", str(wish.context_tokens)),
    ]


ALL = (
    Peer("transformers", "Transformers generate", "transformers", "transformers_runner", computes=EVERYWHERE),
    Peer(
        "transformers-cb",
        "Transformers continuous batching",
        "transformers",
        "continuous_batching_runner",
        computes=EVERYWHERE,
        shares="transformers",
    ),
    Peer("ctranslate2", "CTranslate2", "ctranslate2", "ctranslate2_runner"),
    Peer("vllm-cpu", "vLLM, CPU build", "vllm-cpu", "vllm_runner", _serve_vllm, vllm_cpu),
)
PEERS = {peer.name: peer for peer in ALL}


def peer_named(name: str, field: str = "peer") -> Peer:
    """The peer. Raises InvalidSettings naming those that there are."""
    if name not in PEERS:
        raise InvalidSettings(f"There is no peer {name[:40]!r}.", field=field, limit=f"one of {', '.join(PEERS)}")
    return PEERS[name]
