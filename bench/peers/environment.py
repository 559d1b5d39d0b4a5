"""What a peer's processes find in their environment.

Owns the variables: those that every peer gets, and those that one of them asks for to be at its best
on CPUs. `runner` and `server` ask.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TCMALLOC = "libtcmalloc_minimal.so.4"
LIBRARY_FOLDERS = (
    Path("/usr/lib/x86_64-linux-gnu"),
    Path("/usr/lib/aarch64-linux-gnu"),
    Path("/usr/lib64"),
    Path("/usr/lib"),
)
_LEFT_OUT = (
    "SKIPJOIN_",
    "OMP_",
    "KMP_",
    "MKL_",
    "VLLM_",
    "CT2_",
    "LD_PRELOAD",
    "PYTHONPATH",
    "PYTHONHOME",
    "VIRTUAL_ENV",
)


@dataclass(frozen=True, slots=True)
class Machine:
    """What a peer may use: CPU threads, GiB for KV, and the folders of its virtual environment and of what it keeps."""

    threads: int
    kv_gib: int
    prefix: Path
    kept: Path


def clean(threads: int, more: Mapping[str, str] | None = None) -> dict[str, str]:
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
    """As its manual asks for on CPUs: threads bound to processors, Intel's OpenMP and tcmalloc loaded first."""
    processors = sorted(os.sched_getaffinity(0))[: machine.threads]
    first = [machine.prefix / "lib" / "libiomp5.so", *(folder / TCMALLOC for folder in LIBRARY_FOLDERS)]
    return {
        "LD_PRELOAD": ":".join(str(path) for path in first if path.is_file()),
        "VLLM_CPU_OMP_THREADS_BIND": ",".join(str(processor) for processor in processors),
        "VLLM_CPU_KVCACHE_SPACE": str(machine.kv_gib),
        "VLLM_CACHE_ROOT": str(machine.kept / "compiled"),
        "VLLM_NO_USAGE_STATS": "1",
    }
