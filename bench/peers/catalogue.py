"""Who the peers are.

Owns the table: name, what is pinned for it, what speaks for it offline and where it computes, how its
server is started. It starts and installs nothing; `install`, `runner` and `server` read it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...core.errors import InvalidSettings
from .environment import Machine
from .environment import vllm_cpu as vllm_cpu_environment

REQUIREMENTS = Path(__file__).parent / "requirements"
DEVICES = ("cpu", "cuda")
CPU_FLOAT32 = {"cpu": ("float32",)}
EVERYWHERE = dict.fromkeys(DEVICES, ("float32", "bfloat16", "float16"))


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
        """Requirements that are installed before those, without what they ask for themselves; None when there are none."""
        path = REQUIREMENTS / f"{self.pinned_as}.alone.txt"
        return path if path.is_file() else None

    def unable(self, device: str, dtype: str | None = None) -> str | None:
        """Why it cannot compute on the device (in the precision); None when it can."""
        if device not in self.computes:
            return f"not on this device: what is pinned computes on {', '.join(self.computes)}, not on {device}"
        if dtype is not None and dtype not in self.computes[device]:
            return f"not in this precision: computes in {', '.join(self.computes[device])} on {device}, not in {dtype}"
        return None


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
    Peer("vllm-cpu", "vLLM, CPU build", "vllm-cpu", "vllm_runner", _serve_vllm, vllm_cpu_environment),
)
PEERS = {peer.name: peer for peer in ALL}


def peer_named(name: str, field: str = "peer") -> Peer:
    """The peer. Raises InvalidSettings naming those that there are."""
    if name not in PEERS:
        raise InvalidSettings(f"There is no peer {name[:40]!r}.", field=field, limit=f"one of {', '.join(PEERS)}")
    return PEERS[name]
