"""A real model behind the Executor port, from the settings.

Owns the order of loading (device, weights, pools, cost profile) and the log's line of each. It
imports no torch itself; executor and profiler do. engine_parts calls it for `--executor torch`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from ...core.clock import Clock
from ...executor.capacity import pool_shape, resolve_device, resolve_dtype, use_threads
from ...executor.provenance import computing_code
from ...executor.runner import TorchExecutor
from ...kernels.native.library import compile_ahead
from ...model.weights.loaded import LoadedModel
from ...model.weights.loading import load_model
from ..settings import ServeSettings
from .computing import Computing
from .costs import cost_profile
from .pulse import Pulse

log = logging.getLogger("skipjoin.engine")

Progress = Callable[[int, int], None]


def torch_computing(settings: ServeSettings, incarnation: int, clock: Clock, pulse: Pulse) -> Computing:
    """Load the model and start its executor. Raises InvalidModel, InvalidInput, InvalidProfile,
    ExecutorLost.
    """
    assert settings.folder is not None, "settings ask for a model with this executor"
    use_threads(settings.threads)
    device = resolve_device(settings.device)
    dtype = resolve_dtype(settings.dtype, device)
    pulse.step("compiling its kernels")
    if device.type == "cpu":
        compile_ahead(dtype, pulse.beat)
    pulse.step("loading its weights")
    folder = settings.folder
    model = _told(settings.names[0], lambda progress: load_model(folder, device, dtype, progress), clock, pulse)
    pulse.step("making room for KV")
    shape = pool_shape(
        model, kv_tokens=settings.kv_tokens, host_kv_tokens=settings.host_kv_tokens, max_batch=settings.max_batch
    )
    graph_rows = settings.max_batch if settings.cuda_graphs else 0
    executor = TorchExecutor(model, shape, generation=incarnation, clock=clock, graph_rows=graph_rows, beat=pulse.beat)
    facts = executor.start()
    words = str(dtype).removeprefix("torch.")
    code = computing_code(device, dtype)
    pulse.step("measuring what iterations cost")
    profile, source = cost_profile(settings, executor, facts, clock, device=str(device), dtype=words, code=code)
    log.info("the cost profile is %s", source)
    return Computing(executor, facts, profile.cost, str(device), words, source, at_once=device.type != "cuda")


def _told(name: str, load: Callable[[Progress], LoadedModel], clock: Clock, pulse: Pulse) -> LoadedModel:
    """What `load` gives; door and log are told how far it is, and what it took."""
    read, began_ns = 0, clock.now_ns()

    def progress(done: int, total: int) -> None:
        nonlocal read
        read = done
        pulse.advanced(done, total)

    model = load(progress)
    took_s = (clock.now_ns() - began_ns) / 1e9
    log.info("loaded %s: %.0f MiB of weights in %.1f s", name, read / 2**20, took_s)
    return model
