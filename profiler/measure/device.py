"""Speeds of a device: how fast memory is read, matrices are multiplied and the host is reached.

Owns the three timings and the way from a model folder and flags to an estimated profile. The
formula is `roofline`'s; `profile roofline` and a server with `--profile roofline` call `estimate`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from ...core.clock import Clock, MonotonicClock
from ...cost.schema import Profile
from ...executor.capacity import AUTO, resolve_device, resolve_dtype, use_threads
from ...model.config import ModelConfig, load_config
from ...model.source.model_place import names_of
from ...model.weights.loaded import parse_dtype
from ..roofline import Decoder, Speeds, roofline_profile

REPEATS = 7
COPY_BYTES = {"cuda": 1 << 29, "cpu": 1 << 26}
GEMM_SIZE = {"cuda": 4096, "cpu": 768}
LINK_BYTES = 1 << 27


def estimate(
    folder: Path,
    *,
    device: str = AUTO,
    dtype: str = AUTO,
    threads: int | None = None,
    kv_tokens: int,
    copy_gbps: float | None = None,
    gemm_tflops: float | None = None,
    link_gbps: float | None = None,
) -> Profile:
    """A profile for the model in `folder`, whose weights are not read. What is None of the speeds
    is measured on `device`; with both speeds given nothing is, and `device` is only a name.

    Raises InvalidModel, InvalidInput, InvalidProfile.
    """
    config = load_config(folder)
    if copy_gbps is not None and gemm_tflops is not None:
        speeds, name = Speeds(copy_gbps, gemm_tflops, link_gbps), "not stated" if device == AUTO else device
        numbers = torch.bfloat16 if dtype == AUTO else parse_dtype(dtype)
    else:
        use_threads(threads)
        place = resolve_device(device)
        numbers, name = resolve_dtype(dtype, place), str(place)
        clock = MonotonicClock()
        speeds = Speeds(
            measured_copy(place, clock) if copy_gbps is None else copy_gbps,
            measured_gemm(place, numbers, clock) if gemm_tflops is None else gemm_tflops,
            measured_link(place, clock) if link_gbps is None else link_gbps,
        )
    return roofline_profile(
        _decoder(config, numbers.itemsize),
        speeds,
        model_name=names_of(folder)[0],
        device=name,
        dtype=str(numbers).removeprefix("torch."),
        kv_tokens=kv_tokens,
        max_context_tokens=config.max_context_tokens,
        measured=copy_gbps is None or gemm_tflops is None,
    )


def _decoder(config: ModelConfig, number_bytes: int) -> Decoder:
    return Decoder(
        config.layers,
        config.hidden,
        config.heads,
        config.kv_heads,
        config.head_dim,
        config.intermediate,
        config.vocab_size,
        number_bytes,
        config.architecture.tensors.gated,
    )


def measured_copy(device: torch.device, clock: Clock) -> float:
    """GB/s that memory moves while one tensor is copied into another: every byte is read once and
    written once.
    """
    size = COPY_BYTES[device.type]
    if device.type == "cuda":
        # Beside the weights and pools of a server there may be little left; two tensors are made.
        size = max(min(size, torch.cuda.mem_get_info(device)[0] // 4), 1 << 20)
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / _timed_ns(lambda: target.copy_(source), device, clock)


def measured_gemm(device: torch.device, dtype: torch.dtype, clock: Clock) -> float:
    """10^12 operations a second in a product of two square matrices."""
    size = GEMM_SIZE[device.type]
    left = torch.ones((size, size), dtype=dtype, device=device)
    right = torch.ones((size, size), dtype=dtype, device=device)
    return 2 * size**3 / _timed_ns(lambda: torch.mm(left, right), device, clock) / 1e3


def measured_link(device: torch.device, clock: Clock) -> float | None:
    """GB/s from the device to pinned host memory; None where host and device are one."""
    if device.type != "cuda":
        return None
    source = torch.zeros(LINK_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty(LINK_BYTES, dtype=torch.uint8, pin_memory=True)
    return LINK_BYTES / _timed_ns(lambda: target.copy_(source, non_blocking=True), device, clock)


def _timed_ns(work: Callable[[], object], device: torch.device, clock: Clock) -> float:
    """Median of some runs, after one that is not counted."""
    times = []
    for _ in range(1 + REPEATS):
        begun_ns = clock.now_ns()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(clock.now_ns() - begun_ns)
    return max(median(times[1:]), 1)
