"""What the figures were measured on.

Owns the facts of the header: device, processor, threads, versions. It measures nothing. `study` puts them in front of its results.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """`device` as CUDA names it or the processor's name; `triton` "none" where it is not installed."""

    device: str
    processor: str
    threads: int
    dtype: str
    torch: str
    triton: str
    python: str


def facts(device: torch.device, dtype: torch.dtype) -> MachineFacts:
    """Of this process."""
    processor = processor_name()
    try:
        triton = version("triton")
    except PackageNotFoundError:
        triton = "none"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor
    words = str(dtype).removeprefix("torch.")
    return MachineFacts(
        name, processor, torch.get_num_threads(), words, torch.__version__, triton, platform.python_version()
    )


def processor_name() -> str:
    """As Linux says it, else the architecture."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
