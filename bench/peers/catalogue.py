"""Who the peers are, and where they live.

Owns the table (name, what is pinned for it, what speaks for it offline and where it computes, how
its server is started), the folders below the XDG cache, and the stamp that says what was installed
to the end. `install` writes the stamp.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...core.errors import InvalidSettings, Unavailable
from ..cached_model import cache_folder

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
    #: Its name in `runners`, which decode offline; None: it only serves.
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
    Peer("transformers", "Transformers generate", "transformers", "transformers", computes=EVERYWHERE),
    Peer(
        "transformers-cb",
        "Transformers continuous batching",
        "transformers",
        "continuous_batching",
        computes=EVERYWHERE,
        shares="transformers",
    ),
    Peer("ctranslate2", "CTranslate2", "ctranslate2", "ctranslate2"),
    Peer("vllm-cpu", "vLLM, CPU build", "vllm-cpu", "vllm", _serve_vllm, vllm_cpu),
)
PEERS = {peer.name: peer for peer in ALL}


def peer_named(name: str, field: str = "peer") -> Peer:
    """The peer. Raises InvalidSettings naming those that there are."""
    if name not in PEERS:
        raise InvalidSettings(f"There is no peer {name[:40]!r}.", field=field, limit=f"one of {', '.join(PEERS)}")
    return PEERS[name]


STAMP = "installed.json"


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of a peer's build for a device; peers that share pins share it."""

    peer: Peer
    device: str = "cpu"

    @property
    def folder(self) -> Path:
        return cache_folder() / "peers" / f"{self.peer.pinned_as}{'' if self.device == 'cpu' else f'-{self.device}'}"

    @property
    def prefix(self) -> Path:
        return self.folder / "venv"

    @property
    def python(self) -> Path:
        return self.prefix / "bin" / "python"

    @property
    def kept(self) -> Path:
        """What the peer may keep between runs."""
        return self.folder / "kept"

    @property
    def log(self) -> Path:
        """What the last process of it said."""
        return self.folder / ("last.log" if self.peer.shares is None else f"last-{self.peer.name}.log")

    def wanted(self) -> str:
        """A digest of the pins and the interpreter's version."""
        digest = hashlib.sha256(repr(sys.version_info[:2]).encode())
        digest.update(b"" if self.device == "cpu" else self.device.encode())
        for path in (self.peer.alone, self.peer.requirements):
            digest.update(b"" if path is None else path.read_bytes())
        return digest.hexdigest()[:16]

    def version(self) -> str | None:
        """The installed version; None: not installed, only half, or of other pins."""
        try:
            stamp = json.loads((self.folder / STAMP).read_text(encoding="utf-8"))
            found = str(stamp["version"]) if stamp["wanted"] == self.wanted() else None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if self.python.exists() else None

    @property
    def absence(self) -> str:
        """What to say of one that is not installed, and how it would be."""
        built = "" if self.device == "cpu" else f" for {self.device}"
        return f"not installed{built}: run `{install_words([self.peer], self.device)}`"

    def make(self) -> None:
        """The folder. Raises Unavailable where there can be none."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as bad:
            where = "XDG_CACHE_HOME may name another place"
            raise Unavailable(f"{self.folder} cannot be made: {bad.strerror}. {where}.") from None

    def forget(self) -> None:
        """Take the stamp away: what is there is not whole from now on."""
        (self.folder / STAMP).unlink(missing_ok=True)

    def stamp(self, version: str) -> None:
        """Note that everything is there, in one step."""
        waiting = self.folder / f"{STAMP}.new"
        waiting.write_text(json.dumps({"version": version, "wanted": self.wanted()}) + "\n", encoding="utf-8")
        waiting.replace(self.folder / STAMP)

    def require(self, flag: str = "peer") -> str:
        """The installed version. Raises InvalidSettings saying how to install it."""
        version = self.version()
        if version is None:
            raise InvalidSettings(f"{self.peer.name} is {self.absence}.", field=flag)
        return version

    def remove(self) -> bool:
        """Delete all of it; False when there was nothing. Raises Unavailable."""
        if not self.folder.exists():
            return False
        try:
            self.forget()
            shutil.rmtree(self.folder)
        except OSError as bad:
            raise Unavailable(f"{self.peer.name} cannot be removed: {bad.strerror or bad}.") from None
        return True


def install_words(peers: Sequence[Peer], device: str = "cpu") -> str:
    """The command that installs them."""
    names = " ".join(peer.name for peer in peers)
    return f"skipjoin bench peers install {names}{'' if device == 'cpu' else f' --device {device}'}"
