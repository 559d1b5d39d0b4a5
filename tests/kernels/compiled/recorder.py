"""What a CUDA graph is to a device, on a CPU: work is recorded once, operation by operation, and a
replay runs no Python of the work at all.

Owns `Recorder`, a stand-in for the executor's `Capture`. As on a device, a replay reads and writes
the very tensors of the recording, whatever was a number of the host then stays that number, and the
memory of intermediate results is anybody's between replays: it is poisoned. Work that waits for a
tensor's value, or reads a tensor that was made on the host for this one run, is refused.
"""

from __future__ import annotations

import math
from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves
from triton.runtime import interpreter

WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2", "item"}
UNWRITTEN = {"empty", "new_empty", "empty_like", "empty_strided", "new_empty_strided"}


class NotRecordable(RuntimeError):
    """Work that a CUDA graph could not hold."""


def tensors_of(*values):
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]


def memory_of(tensor):
    """What tells whether two tensors lie in the same memory; packed weights have none that can be
    asked for.
    """
    return id(tensor) if tensor.layout is torch._mkldnn else tensor.untyped_storage()._cdata


class Recording(TorchDispatchMode):
    """The operations of one run. `own`: what it allocated, `foreign`: what it found, both by
    memory.
    """

    def __init__(self):
        super().__init__()
        self.steps, self.own, self.foreign, self.replays = [], {}, {}, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        masks = [t for t in tensors_of(args[1:]) if name == "index" and t.dtype == torch.bool]
        if name in WAITS or masks:
            raise NotRecordable(f"{name} makes the host wait for the device")
        outs = func(*args, **kwargs)
        inputs = self._find(args, kwargs)
        if func._schema.is_mutable:
            self.steps.append(lambda: func(*args, **kwargs))
            return outs
        fresh = [out for out in tensors_of(outs) if memory_of(out) not in inputs]
        for out in fresh:
            self.own[memory_of(out)] = out
        if fresh and name not in UNWRITTEN:
            self.steps.append(lambda: self._again(func, args, kwargs, outs))
        return outs

    def launch(self, launched, args, kwargs):
        """A kernel in Triton's interpreter, with the grid and the numbers it is launched with now."""
        self._find(args, kwargs)
        self.steps.append(lambda: launched(*args, **kwargs))
        with _disable_current_modes():
            launched(*args, **kwargs)

    def replay(self):
        self.replays += 1
        for step in self.steps:
            step()
        self.poison()

    def poison(self):
        for tensor in self.own.values():
            tensor.fill_(math.nan if tensor.is_floating_point() else True if tensor.dtype == torch.bool else 2**30)

    def _find(self, args, kwargs):
        inputs = {memory_of(tensor): tensor for tensor in tensors_of(args, kwargs)}
        self.foreign |= {memory: tensor for memory, tensor in inputs.items() if memory not in self.own}
        return inputs

    @staticmethod
    def _again(func, args, kwargs, outs):
        for old, new in zip(tensors_of(outs), tensors_of(func(*args, **kwargs)), strict=True):
            old.copy_(new)


@contextmanager
def recording():
    """Operations and interpreted kernels inside are recorded."""
    tape, call = Recording(), interpreter.GridExecutor.__call__
    interpreter.GridExecutor.__call__ = lambda launched, *args, **kwargs: tape.launch(
        call.__get__(launched), args, kwargs
    )
    try:
        with tape:
            yield tape
    finally:
        interpreter.GridExecutor.__call__ = call


class Recorder:
    """A `Capture`; `recordings` in the order they were made. There is no memory for works whose
    number is in `refused`.
    """

    def __init__(self, refused=()):
        self.recordings, self._refused, self._asked = [], refused, 0

    def __call__(self, work):
        self._asked += 1
        if self._asked in self._refused:
            raise torch.OutOfMemoryError("none is left")
        tapes = []
        for _ in range(2):
            with recording() as tape:
                work()
            tapes.append(tape)
        first, second = tapes
        if first.foreign.keys() != second.foreign.keys():
            raise NotRecordable("a tensor that was made for this run alone, outside of it")
        with torch.inference_mode():
            second.poison()
        self.recordings.append(second)
        return second.replay
