"""Where `bench kernels` and `bench step` compute, as their flags say."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from ...core.errors import InvalidSettings
from ...executor.capacity import resolve_device, resolve_dtype, use_threads
from ..flags import check_bounds

ROUNDS, THREADS = (3, 1000), (1, 1024)
SHIPPED = {"cpu": "small.toml", "cuda": "llama-3-8b.toml"}
"""Device type -> the scenario that is measured unless another is named."""

BOUNDS = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}
"""Dtype -> the largest error of a kernel, as a share of the largest number of the truth."""


def chosen_device(args: argparse.Namespace) -> torch.device:
    """The device, after the bounds of rounds and threads were checked. Raises InvalidSettings."""
    check_bounds(args, repeats=ROUNDS, threads=THREADS)
    return resolve_device(args.device)


def chosen_dtype(args: argparse.Namespace, otherwise: str, device: torch.device) -> torch.dtype:
    """The precision; from here on torch computes with the threads asked for. Raises
    InvalidSettings.
    """
    named = args.dtype or otherwise
    dtype = resolve_dtype(named, device)
    if dtype not in BOUNDS:
        what = "--dtype" if args.dtype else "The precision"
        raise InvalidSettings(f"{what} is {named}.", field="dtype", limit="float32, float16, bfloat16")
    use_threads(args.threads)
    return dtype


def chosen_file(args: argparse.Namespace, folder: Path, shipped: str) -> Path:
    """The scenario's file."""
    return Path(args.scenario) if args.scenario else folder / shipped
