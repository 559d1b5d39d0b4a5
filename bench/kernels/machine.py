"""What the figures were measured on.

Owns the facts of the header: device, processor, threads, versions. It measures nothing; what is not of torch it asks `bench/machine`. `study` puts
them in front of its results.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..machine import distribution_version, machine_facts


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """`device` as CUDA names it or the processor's name; `triton` "none" where it is not installed; `code` is the commit, or the version."""

    device: str
    processor: str
    threads: int
    dtype: str
    torch: str
    triton: str
    python: str
    code: str


def facts(device: torch.device, dtype: torch.dtype) -> DeviceFacts:
    """Of this process."""
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
