"""Effects in, figures out: read back with Prometheus' own parser."""

from __future__ import annotations

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from skipjoin.core.asked import Asked
from skipjoin.core.clock import ManualClock
from skipjoin.core.effects import (
    KvDepth,
    LevelCause,
    LevelChanged,
    LevelDepth,
    Preempted,
    Recomputed,
    Resumed,
    SnapshotGiven,
    Started,
    TokensEmitted,
    TurnEffects,
    TurnStats,
)
from skipjoin.core.errors import InvalidInput, Overloaded, StoreUnavailable
from skipjoin.core.events import Event, Submitted
from skipjoin.core.executor import ExecutorFacts
from skipjoin.core.ids import Handle, JobId, Level
from skipjoin.core.job import FinishReason, JobAccount
from skipjoin.core.pool import LogEnd, PoolDepth
from skipjoin.core.sampling import SamplingParams
from skipjoin.cost.online import CorrectedCostModel, OnlineCorrection
from skipjoin.cost.profiles import load_profile
from skipjoin.engine.assemble import assemble
from skipjoin.engine.params import EngineParams
from skipjoin.engine.turn import Turn
from skipjoin.serving.door.metrics import DoorState, Metrics
from skipjoin.sim.executor import SimExecutor

MS = 1_000_000


def _figures(metrics: Metrics) -> dict[str, float]:
    """Sample name with its labels -> value; buckets left out."""
    found = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            if not sample.name.endswith("_bucket"):
                labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
                found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def _turn(*effects: object, tokens: int = 0, **stats: object) -> TurnEffects:
    base = {
        "seq": 1, "now_ns": 5, "decode_jobs": 3, "prefill_tokens": 10, "live_jobs": 4, "free_pages": 9, "pages_out": 0,
        "pages_in": 0, "planning_ns": 2 * MS, "predicted_ns": 30 * MS, "measured_ns": 40 * MS,
    }  # fmt: skip
    columns = np.arange(tokens)
    emitted = TokensEmitted(columns, columns.astype(np.int32), columns.astype(np.int32)) if tokens else None
    return TurnEffects(TurnStats(**(base | stats)), emitted, effects)  # type: ignore[arg-type]


def test_a_turn() -> None:
    metrics = Metrics()
    metrics.page_bytes = 1000
    h, one, two = Handle(1), Level(1), Level(2)
    metrics.on_effects(
        _turn(
            Started(h, one), Started(h, one), Preempted(h, one), Resumed(h, one), Recomputed(h, 77),
            LevelChanged(h, one, two, LevelCause.QUANTUM), LevelChanged(h, two, one, LevelCause.STARVATION),
            tokens=6, pages_out=3, pages_in=2,
        )
    )  # fmt: skip
    metrics.on_effects(_turn(prefill_tokens=0, measured_ns=None, predicted_ns=None))
    figures = _figures(metrics)
    expected = {
        "output_tokens_total": 6, "prefill_tokens_total": 10, "job_starts_total": 2, "preemptions_total": 1,
        "resumptions_total": 1, "recomputed_tokens_total": 77, "demotions_total{cause=quantum}": 1,
        "promotions_total{cause=starvation}": 1, "kv_moved_bytes_total{direction=out}": 3000,
        "kv_moved_bytes_total{direction=in}": 2000, "iteration_seconds_count": 1, "iteration_seconds_sum": 0.04,
        "iteration_predicted_seconds_total": 0.03, "planning_seconds_count": 2, "planning_seconds_sum": 0.004,
        "decode_batch_jobs_sum": 3,
    }  # fmt: skip
    assert {name: figures[f"skipjoin_{name}"] for name in expected} == pytest.approx(expected)


def test_ends() -> None:
    metrics = Metrics()
    account = JobAccount(100 * MS, 50 * MS, 700 * MS, 120 * MS, 30 * MS, first_token_ns=200 * MS)
    job = JobId("a" * 32)
    metrics.on_end(LogEnd(job, FinishReason.STOP, 1, None, account.to_json()), 40, 9)
    metrics.on_end(LogEnd(job, FinishReason.CANCELLED, 1, None, account.to_json()), 40, 1)
    metrics.on_end(LogEnd(job, FinishReason.EXPIRED, 1), 40, 0)
    metrics.on_end(LogEnd(job, FinishReason.FAILED, 1, None, "nonsense"), 40, 0)
    figures = _figures(metrics)
    expected = {
        "jobs_finished_total{reason=stop}": 1, "jobs_finished_total{reason=cancelled}": 1,
        "jobs_finished_total{reason=expired}": 1, "jobs_finished_total{reason=failed}": 1,
        "jobs_finished_total{reason=length}": 0, "job_completion_seconds_count": 1, "job_completion_seconds_sum": 1.0,
        "time_to_first_token_seconds_count": 2, "time_to_first_token_seconds_sum": 0.4,
        "time_per_output_token_seconds_count": 1, "time_per_output_token_seconds_sum": 0.1,
        "job_queued_seconds_sum": 0.2, "job_preempted_seconds_sum": 0.3,
    }  # fmt: skip
    assert {name: figures[f"skipjoin_{name}"] for name in expected} == pytest.approx(expected)


def test_the_worst_stays() -> None:
    metrics = Metrics()
    h, one = Handle(1), Level(1)
    assert _figures(metrics)["skipjoin_worst_wait_seconds"] == 0
    metrics.on_effects(_turn(Preempted(h, one), now_ns=100 * MS))
    metrics.on_effects(_turn(Resumed(h, one), now_ns=900 * MS))
    metrics.worst.alone_ns = lambda prompt, output: prompt * 10 * MS + output * MS
    state = DoorState(True, False, 1, 0, 0)

    def worst() -> tuple[float, float]:
        metrics.set_door(state)
        figures = _figures(metrics)
        return figures["skipjoin_worst_wait_seconds"], figures["skipjoin_worst_slowdown_ratio"]

    assert worst() == pytest.approx((0.8, 0))
    job = JobId("a" * 32)
    starved = JobAccount(600 * MS, 100 * MS, 300 * MS, 0, 0)
    metrics.on_end(LogEnd(job, FinishReason.STOP, 1, None, starved.to_json()), 20, 50)
    assert worst() == pytest.approx((0.8, 4.0))
    metrics.on_end(LogEnd(job, FinishReason.CANCELLED, 1, None, JobAccount(2000 * MS, 0, 0, 0, 0).to_json()), 20, 0)
    metrics.on_end(LogEnd(job, FinishReason.LENGTH, 1, None, JobAccount(0, 100 * MS, 0, 0, 0).to_json()), 20, 50)
    assert worst() == pytest.approx((2.0, 4.0))
    metrics.set_engine(_snapshot(6))  # somebody waits for 3 s now
    assert worst() == pytest.approx((3.0, 4.0))
    metrics.on_effects(_turn(Preempted(h, one), now_ns=0))
    metrics.worst.engine_ended()  # the next engine's handle 1 is another job
    metrics.on_effects(_turn(Resumed(h, one), now_ns=10**12))
    assert worst() == pytest.approx((3.0, 4.0))


def test_the_correction_shown_is_the_one_that_the_engine_has() -> None:
    profile = load_profile("opt-13b-a100").cost
    facts = ExecutorFacts(1, 40, 60, 16, 16, None, 64)
    cost = CorrectedCostModel(profile, OnlineCorrection())
    clock, metrics = ManualClock(10), Metrics()
    turn = Turn(
        assemble("skipjoin", cost, facts, EngineParams(max_batch=4)),
        SimExecutor(profile, facts, clock, scale=1.5),
        clock,
    )
    events: list[Event] = [
        Submitted(Handle(n), 30, Asked(SamplingParams(max_new_tokens=50, seed=0)), 10) for n in range(20)
    ]
    while events or turn.busy:
        metrics.on_effects(turn.step(events))
        events = []

    def shown() -> list[float]:
        metrics.set_door(DoorState(True, False, 1, 0, 0))
        figures = _figures(metrics)
        return [figures[f"skipjoin_cost_{name}"] for name in ("correction_ratio", "error_ratio", "observations")]

    correction = cost.correction
    assert correction.factor > 1.3
    assert shown() == [correction.factor, correction.relative_error, correction.observations]
    metrics.engine_changed()  # the next engine begins with the profile
    assert shown() == [1, 0, 0]


def _snapshot(levels: int) -> SnapshotGiven:
    rows = tuple(LevelDepth(Level(n), 10 * n, n, n * 500 * MS) for n in range(1, levels + 1))
    return SnapshotGiven(1, "skipjoin", rows, KvDepth(100, 25, 70, 5, 200, 150, 40, 10, 33), 30, 3)


def test_a_scrape_shows_the_present_only() -> None:
    metrics = Metrics()
    metrics.set_engine(_snapshot(3))
    metrics.set_pool(PoolDepth(7, 30, 2), 3)
    metrics.set_door(DoorState(True, False, 2, 5, 9 * 10**9))
    figures = _figures(metrics)
    expected = {
        "level_jobs{level=2}": 20, "level_waiting_jobs{level=2}": 18, "level_oldest_wait_seconds{level=3}": 1.5,
        "kv_blocks{pool=device,state=free}": 25, "kv_blocks{pool=host,state=in_flight}": 10, "kv_clean_blocks": 33,
        "kv_cache_usage_ratio": 0.75, "live_jobs": 30, "running_jobs": 3, "waiting_jobs": 34,
        "pool_jobs{state=accepted}": 7, "pool_jobs{state=final}": 2, "engine_ready": 1, "draining": 0,
        "engine_starts": 2, "open_streams": 5, "uptime_seconds": 9,
    }  # fmt: skip
    assert {name: figures[f"skipjoin_{name}"] for name in expected} == pytest.approx(expected)
    metrics.set_engine(_snapshot(1))
    assert [name for name in _figures(metrics) if "level_jobs" in name] == ["skipjoin_level_jobs{level=1}"]
    metrics.set_engine(None)
    assert not [name for name in _figures(metrics) if "level_jobs" in name or "kv_blocks" in name]


def test_commits_and_refusals() -> None:
    metrics = Metrics()
    metrics.on_commit(3 * MS)
    metrics.on_refused(InvalidInput("No."))
    metrics.on_refused(Overloaded("No.", retry_after_s=1))
    metrics.on_refused(StoreUnavailable("No."))
    figures = _figures(metrics)
    assert figures["skipjoin_log_commits_total"] == 1
    assert figures["skipjoin_log_commit_seconds_sum"] == pytest.approx(0.003)
    refused = {name: value for name, value in figures.items() if "rejected" in name and value}
    assert {name.partition("=")[2].rstrip("}") for name in refused} == {
        "invalid_input",
        "overloaded",
        "store_unavailable",
    }


def test_names_and_labels_keep_the_rules() -> None:
    metrics = Metrics()
    metrics.set_engine(_snapshot(2))
    metrics.set_pool(PoolDepth(1, 1, 1), 0)
    labels = set()
    for family in text_string_to_metric_families(metrics.render().decode()):
        assert family.name.startswith("skipjoin_")
        assert ":" not in family.name
        assert not family.name.endswith(("_ms", "_ns", "_percent", "_created"))
        assert family.documentation
        for sample in family.samples:
            labels |= set(sample.labels)
    assert labels <= {"le", "level", "cause", "reason", "direction", "pool", "state", "policy", "limit"}
