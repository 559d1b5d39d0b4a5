"""A real model behind the Executor port, from the settings.

Owns the order of loading: device, weights, pools, cost profile. It imports no torch itself; executor and profiler do. engine_parts calls it for
`--executor torch`.
"""

from __future__ import annotations

from ..core.clock import Clock
from ..executor.capacity import pool_shape, resolve_device, resolve_dtype, use_threads
from ..executor.loading import load_model
from ..executor.provenance import computing_code
from ..executor.runner import TorchExecutor
from .computing import Computing
from .costs import cost_profile
from .settings import ServeSettings


def torch_computing(settings: ServeSettings, incarnation: int, clock: Clock) -> Computing:
    """Load the model and start its executor. Raises InvalidModel, InvalidInput, InvalidProfile, ExecutorLost."""
    assert settings.folder is not None, "settings ask for a model with this executor"
    use_threads(settings.threads)
    device = resolve_device(settings.device)
    dtype = resolve_dtype(settings.dtype, device)
    model = load_model(settings.folder, device, dtype)
    shape = pool_shape(
        model, kv_tokens=settings.kv_tokens, host_kv_tokens=settings.host_kv_tokens, max_batch=settings.max_batch
    )
    graph_rows = settings.max_batch if settings.cuda_graphs else 0
    executor = TorchExecutor(model, shape, generation=incarnation, clock=clock, graph_rows=graph_rows)
    facts = executor.start()
    words = str(dtype).removeprefix("torch.")
    code = computing_code(device, dtype)
    profile, source = cost_profile(settings, executor, facts, clock, device=str(device), dtype=words, code=code)
    return Computing(executor, facts, profile.cost, str(device), words, source, at_once=device.type != "cuda")
