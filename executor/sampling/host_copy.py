"""What was sampled, on its way to the host.

Owns the copy of an iteration's tokens and what comes with them into pinned memory. It does not
wait: the runner calls it right behind the sampler and reads the answer when the event behind it has
come.
"""

from __future__ import annotations

from dataclasses import fields, replace

import torch
from torch import Tensor

from .sampler import SampledTokens


def host_copy(sampled: SampledTokens) -> SampledTokens:
    """The same on the host, to be read behind an event that is recorded after this call; itself
    where it lies there already.

    Pinned memory, because into any other a copy makes the host wait. torch keeps what is freed for
    the next iteration, after the copy is over.
    """
    if sampled.here is not None:
        return sampled
    values = {field.name: getattr(sampled, field.name) for field in fields(sampled)}
    tensors = {name: _pinned(value) for name, value in values.items() if isinstance(value, Tensor)}
    return replace(sampled, **tensors, here=tensors["tokens"].numpy())


def _pinned(tensor: Tensor) -> Tensor:
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)
