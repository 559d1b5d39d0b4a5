"""A real model behind the Executor port, from the settings.

Owns the order of a start: other ranks where there are to be some, this rank's part, the pools, the
cost profile; and the log's line of each. It imports no torch itself; executor and profiler do.
engine_parts calls it for `--executor torch`.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from ...core.clock import Clock
from ...core.errors import ExecutorLost
from ...core.executor import Executor, ExecutorFacts
from ...executor.capacity import memory_now
from ...executor.provenance import computing_code
from ...executor.ranks.leading import LeadingExecutor
from ...kernels.layout import KvLayout
from ...model.config import load_config
from ...model.stage import stages_of
from ..settings import ServeSettings
from .computing import Computing
from .costs import cost_profile
from .other_ranks import OtherRanks
from .pulse import Pulse
from .rank_part import Place, RankPart, load_part, share_of
from .rank_rows import RankRows, row_of_first

log = logging.getLogger("skipjoin.engine")


def torch_computing(settings: ServeSettings, incarnation: int, clock: Clock, pulse: Pulse) -> Computing:
    """Load the model and start its executor. Raises InvalidModel, InvalidInput, InvalidProfile,
    ExecutorLost.
    """
    assert settings.folder is not None, "settings ask for a model with this executor"
    stages_of(load_config(settings.folder), settings.pipeline_parallel)  # too many are refused before any starts
    others = OtherRanks(settings, settings.world, incarnation, pulse) if settings.world > 1 else None
    try:
        return _computing(settings, incarnation, clock, pulse, others)
    except BaseException as error:
        if others is None:
            raise
        said = others.last_words() if isinstance(error, ExecutorLost) else None
        others.close()
        if said is not None:  # rank 0 noticed no more than that another one was lost
            raise said from error
        raise


def _computing(
    settings: ServeSettings, incarnation: int, clock: Clock, pulse: Pulse, others: OtherRanks | None
) -> Computing:
    part = _loaded(settings, Place() if others is None else others.place, clock, pulse)
    device, dtype = part.model.device, part.model.dtype
    shape = part.room if others is None else others.agree(part, pulse)
    executor: Executor = part.executor(settings, shape, incarnation, clock, pulse.beat)
    leading = None
    if others is not None:
        executor = leading = LeadingExecutor(executor, others.channels, others.close)
    facts = executor.start()
    first = row_of_first(str(device), facts.device_pages, facts.host_pages, facts.page_bytes)
    first.share.CopyFrom(share_of(part, settings))
    first.weight_bytes, rows = part.weight_bytes, [first]
    if others is not None:
        others.started(pulse)
        rows += others.rows
        facts = replace(facts, page_bytes=_whole_page_bytes(settings, part, facts))
    ranks = RankRows(rows, lambda: memory_now(device), None if leading is None else leading.reports)
    words = str(dtype).removeprefix("torch.")
    code = computing_code(device, dtype)
    pulse.step("measuring what iterations cost")
    profile, source = cost_profile(settings, executor, facts, clock, device=str(device), dtype=words, code=code)
    log.info("the cost profile is %s", source)
    shown = str(device) if others is None else f"{settings.world} ranks on {device.type}"
    return Computing(executor, facts, profile.cost, shown, words, source, at_once=device.type != "cuda", ranks=ranks)


def _whole_page_bytes(settings: ServeSettings, part: RankPart, facts: ExecutorFacts) -> int:
    """Bytes of a page over all heads and layers, as profiles count them."""
    assert settings.folder is not None
    config = load_config(settings.folder)
    layout = KvLayout(config.layers, config.kv_heads, facts.page_tokens, config.head_dim)
    return layout.page_bytes(part.model.dtype)


def _loaded(settings: ServeSettings, place: Place, clock: Clock, pulse: Pulse) -> RankPart:
    """This rank's part; the log is told what it took."""
    began_ns = clock.now_ns()
    part = load_part(settings, place, pulse)
    took_s = (clock.now_ns() - began_ns) / 1e9
    log.info("loaded %s: %.0f MiB of weights in %.1f s", settings.names[0], part.weight_bytes / 2**20, took_s)
    return part
