"""On what a measurement was made: the head of every table and file.

Owns the questions to the operating system, the checkout and torch. It knows no benchmark.
"""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from .. import __version__

ROOT = Path(__file__).resolve().parent.parent
INSTRUCTIONS = ("amx_tile", "avx512_bf16", "avx512f", "avx2", "asimd")
"""What decides how fast matrices are multiplied, the most first."""


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """A machine and the code on it.

    `processors`: those this process may use. `commit`: None outside a checkout, with a + where
    files differ from it.
    """

    cpu: str
    instructions: str
    processors: int
    memory_gib: int
    system: str
    python: str
    torch: str
    skipjoin: str
    commit: str | None

    @property
    def code(self) -> str:
        """Which of our code: the commit, outside a checkout the version."""
        return self.skipjoin if self.commit is None else self.commit

    @property
    def hardware(self) -> str:
        """What makes figures of one place comparable."""
        return f"{self.cpu} ({self.instructions}), {self.processors} processors, {self.memory_gib} GiB"

    def sentence(self) -> str:
        """All of it on a line."""
        code = self.skipjoin if self.commit is None else f"{self.skipjoin} at {self.commit}"
        return f"CPU: {self.hardware}, {self.system}, Python {self.python}, torch {self.torch}, skipjoin {code}"


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """A device that computes in one precision, in this process.

    `device`: its name, the processor's where there is no other. `triton`: "none" where it is not
    installed. `code`: the commit, or the version.
    """

    device: str
    processor: str
    threads: int
    dtype: str
    torch: str
    triton: str
    python: str
    code: str

    @property
    def on_cpu(self) -> bool:
        """Whether the device is the processor itself."""
        return self.device == self.processor

    def sentence(self) -> str:
        """Device, threads and versions."""
        versions = f"torch {self.torch}, triton {self.triton}, Python {self.python}, skipjoin {self.code}"
        device = self.device if self.on_cpu else f"{self.device} ({self.processor})"
        return f"{device}, {self.threads} CPU thread{'' if self.threads == 1 else 's'}, {versions}"


def machine_facts() -> MachineFacts:
    """Of this machine, now."""
    described = _described()
    flags = set((described.get("flags") or described.get("Features") or "").split())
    return MachineFacts(
        cpu=described.get("model name") or platform.machine(),
        instructions=next((name for name in INSTRUCTIONS if name in flags), "no vector instructions known"),
        processors=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        system=f"{platform.system()} {platform.release().split('-')[0]}",
        python=platform.python_version(),
        torch=distribution_version("torch"),
        skipjoin=__version__,
        commit=_commit(),
    )


def device_facts(device: torch.device, dtype: torch.dtype) -> DeviceFacts:
    """Of a device, in this process."""
    here = machine_facts()
    return DeviceFacts(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else here.cpu,
        processor=here.cpu,
        threads=torch.get_num_threads(),
        dtype=str(dtype).removeprefix("torch."),
        torch=torch.__version__,
        triton=distribution_version("triton"),
        python=here.python,
        code=here.code,
    )


def distribution_version(name: str) -> str:
    """As it is installed beside us, "none" where it is not."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _described() -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo."""
    lines: list[str] = []
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines()
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _commit() -> str | None:
    if not (ROOT / ".git").exists():
        return None
    try:
        asked = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=8", "--dirty=+", "--exclude=*"]
        said = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.strip() or None
