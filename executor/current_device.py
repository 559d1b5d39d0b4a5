"""The device that a thread computes on, where torch and Triton ask the thread and not a tensor.

Owns saying it. Triton launches on the thread's current device and takes its stream from there; a
tensor of another device would be refused, or read by the wrong one. Whoever launches asks: the
runner for each iteration, the kernel forms and `skipjoin bench kernels` at their start.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def computing_on(device: torch.device) -> AbstractContextManager[object]:
    """Inside, the thread's current CUDA device is `device`; a CPU has none. Afterwards it is what
    it was: a process of ours may be somebody's own.
    """
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
