"""Figures for Prometheus.

Owns every metric of the server, its name and its buckets: `skipjoin_` prefix, base units, counters
instead of rates, no label that a client or a job could choose. It reads the one effect stream and
the ends in the log, after they are durable; gauges are set when somebody scrapes. It is the only
module that knows prometheus_client.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from ...core.effects import (
    LevelCause,
    LevelChanged,
    Preempted,
    Recomputed,
    Resumed,
    SnapshotGiven,
    Started,
    TurnEffects,
)
from ...core.errors import InvariantViolation, SkipjoinError, by_code
from ...core.job import FinishReason, JobAccount
from ...core.pool import LogEnd, PoolDepth
from ...cost.online import OnlineCorrection
from .worst import Worst

_NS = 1e-9
_JOB_S = tuple(0.01 * 2**k for k in range(18))  # 10 ms to 22 min, OpenTelemetry's row taken further
_TOKEN_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 10.0)
_TURN_S = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 5.0)
_PLAN_S = (1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.05)
LIMITS = (
    "max_call_wait_ms",
    "max_connection_calls",
    "max_connections",
    "max_message_fields",
    "max_queued_jobs",
    "max_slow_messages",
    "max_streams",
    "payload_bytes",
)
"""Bounds of the doors that are counted when they are reached: names of settings."""
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True, slots=True)
class DoorState:
    """What the door itself knows at a scrape."""

    engine_ready: bool
    draining: bool
    engine_starts: int
    open_streams: int
    uptime_ns: int
    payload_bytes: int = 0
    engine_failed_starts: int = 0
    engine_stalls: Mapping[str, int] = field(default_factory=dict)
    spare_ready: bool = False


class Metrics:
    """All metrics of one server, in a registry of its own. `page_bytes` turns moved pages into
    bytes; the door sets it with the engine's facts.
    """

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self.page_bytes = 0
        self.worst = Worst()
        self._correction = OnlineCorrection()
        self._levels: set[str] = set()
        self._counters()
        self._histograms()
        self._gauges()

    def _counter(self, name: str, text: str, label: str | None = None) -> Counter:
        return Counter(f"skipjoin_{name}", text, [label] if label else [], registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"skipjoin_{name}", text, buckets=buckets, registry=self._registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"skipjoin_{name}", text, labels, registry=self._registry)

    def _counters(self) -> None:
        self._output_tokens = self._counter("output_tokens", "Tokens generated.")
        self._prefill_tokens = self._counter("prefill_tokens", "Prompt tokens computed, those computed again included.")
        self._recomputed = self._counter("recomputed_tokens", "Tokens whose KV was dropped and must be computed again.")
        self._started = self._counter("job_starts", "Jobs that entered a batch for the first time.")
        self._preempted = self._counter("preemptions", "Times a job left the batch unfinished.")
        self._resumed = self._counter("resumptions", "Times a preempted job came back into a batch.")
        self._promoted = self._counter("promotions", "Jobs that went to a higher level.", "cause")
        self._demoted = self._counter("demotions", "Jobs that went to a lower level.", "cause")
        for cause in LevelCause:
            self._promoted.labels(cause.value)
            self._demoted.labels(cause.value)
        self._finished = self._counter("jobs_finished", "Jobs that ended, by reason.", "reason")
        for reason in FinishReason:
            self._finished.labels(reason.value)
        self._refused = self._counter("requests_rejected", "Requests answered with an error, by its code.", "reason")
        for code in by_code():
            self._refused.labels(code.lower())
        self._limits = self._counter("limits_reached", "Times a bound of the doors was reached, by bound.", "limit")
        for limit in LIMITS:
            self._limits.labels(limit)
        self._moved = self._counter(
            "kv_moved_bytes", "KV bytes that moves were started for, by direction.", "direction"
        )
        self._out, self._in = self._moved.labels("out"), self._moved.labels("in")
        self._commits = self._counter("log_commits", "Commits of the token log.")

    def _histograms(self) -> None:
        self._jct = self._histogram("job_completion_seconds", "Acceptance to end, of jobs that succeeded.", _JOB_S)
        self._ttft = self._histogram(
            "time_to_first_token_seconds", "Acceptance to first token, of jobs that ended.", _JOB_S
        )
        self._tpot = self._histogram(
            "time_per_output_token_seconds", "Mean time between a job's later tokens.", _TOKEN_S
        )
        self._queued = self._histogram(
            "job_queued_seconds", "Acceptance to the first batch, of jobs that ended.", _JOB_S
        )
        self._out_of_batch = self._histogram(
            "job_preempted_seconds", "Time a job waited after it had begun, moves included, of jobs that ended.", _JOB_S
        )
        self._iteration = self._histogram("iteration_seconds", "Measured time of an iteration on the device.", _TURN_S)
        self._planning = self._histogram("planning_seconds", "Time to apply events and plan one turn.", _PLAN_S)
        self._batch = self._histogram("decode_batch_jobs", "Decoding jobs in an iteration.", _BATCH)
        self._commit_s = self._histogram("log_commit_seconds", "Time of one commit of the token log.", _TURN_S)
        self._predicted = self._counter("iteration_predicted_seconds", "Sum of the cost model's times, to compare.")

    def _gauges(self) -> None:
        self._level_jobs = self._gauge("level_jobs", "Jobs of a level of the scheduler.", "level")
        self._level_waiting = self._gauge("level_waiting_jobs", "Of them those in no batch.", "level")
        self._level_wait = self._gauge("level_oldest_wait_seconds", "The longest present wait on a level.", "level")
        self._worst_wait = self._gauge("worst_wait_seconds", "The longest that a job ever waited at a stretch.")
        self._worst_slowdown = self._gauge("worst_slowdown_ratio", "The largest job completion time / time alone.")
        self._kv = self._gauge("kv_blocks", "KV blocks of a pool by residency.", "pool", "state")
        self._kv_clean = self._gauge("kv_clean_blocks", "Device blocks with a valid host copy: free to evict.")
        self._kv_used = self._gauge("kv_cache_usage_ratio", "Share of the device pool that is not free.")
        self._live = self._gauge("live_jobs", "Jobs that the engine holds.")
        self._running = self._gauge("running_jobs", "Jobs in the batch.")
        self._waiting = self._gauge("waiting_jobs", "Jobs that wait, in the engine or in the job pool.")
        self._pool = self._gauge("pool_jobs", "Jobs in the job pool by state.", "state")
        self._ready = self._gauge("engine_ready", "Whether the engine serves.")
        self._draining = self._gauge("draining", "Whether the server is going down.")
        self._policy = self._gauge("policy_info", "1 for the policy that ranks the jobs now.", "policy")
        self._cost_factor = self._gauge("cost_correction_ratio", "What the profile's predictions are multiplied by.")
        self._cost_error = self._gauge("cost_error_ratio", "Running mean of |predicted - measured| / measured.")
        self._cost_seen = self._gauge("cost_observations", "Iterations that the engine has learned from.")
        self._starts = self._gauge("engine_starts", "Engine processes started by this server.")
        self._failed_starts = self._gauge(
            "engine_failed_starts", "Starts of an engine process that the system refused."
        )
        self._stalls = self._gauge(
            "engine_stalls", "Engines killed because they were silent, by what they did.", "stage"
        )
        self._spare = self._gauge("spare_ready", "Whether the next engine can be forked at once.")
        self._streams = self._gauge("open_streams", "Followers of jobs.")
        self._payload = self._gauge("payload_bytes", "Bytes of requests that are being taken in.")
        self._uptime = self._gauge("uptime_seconds", "Time since the server started.")

    # the stream
    # -------------------------------------------------------------------------------------------------
    def engine_changed(self) -> None:
        """An engine ended or began: the next handle 1 is another job, and a new engine starts from
        the profile again.
        """
        self.worst.engine_ended()
        self._correction = OnlineCorrection()

    def on_effects(self, turn: TurnEffects) -> None:
        """One turn of the engine, durable by now."""
        stats = turn.stats
        self.worst.on_effects(turn)
        self._planning.observe(stats.planning_ns * _NS)
        if stats.measured_ns is not None:
            self._iteration.observe(stats.measured_ns * _NS)
            self._batch.observe(stats.decode_jobs)
        if stats.predicted_ns is not None:
            self._predicted.inc(stats.predicted_ns * _NS)
            if stats.measured_ns is not None:
                # The pairs that the engine learned from, in its order, so this is the factor that
                # it has.
                self._correction.observe_corrected(stats.predicted_ns, stats.measured_ns)
        self._prefill_tokens.inc(stats.prefill_tokens)
        if stats.pages_out:
            self._out.inc(stats.pages_out * self.page_bytes)
        if stats.pages_in:
            self._in.inc(stats.pages_in * self.page_bytes)
        if turn.tokens is not None:
            self._output_tokens.inc(len(turn.tokens.tokens))
        for effect in turn.effects:
            match effect:
                case Started():
                    self._started.inc()
                case Preempted():
                    self._preempted.inc()
                case Resumed():
                    self._resumed.inc()
                case LevelChanged():
                    (self._promoted if effect.new < effect.old else self._demoted).labels(effect.cause.value).inc()
                case Recomputed():
                    self._recomputed.inc(effect.tokens)
                case _:
                    pass

    def on_end(self, end: LogEnd, prompt_tokens: int, output_tokens: int) -> None:
        """A job's end, durable by now."""
        self._finished.labels(end.reason.value).inc()
        if end.account_json is None:
            return  # The door ended it; the engine never gave account of it.
        try:
            account = JobAccount.from_json(end.account_json)
        except InvariantViolation:
            return
        self._queued.observe(account.queued_ns * _NS)
        self._out_of_batch.observe((account.preempted_ns + account.moving_ns) * _NS)
        succeeded = end.reason in (FinishReason.STOP, FinishReason.LENGTH)
        self.worst.on_end(account, prompt_tokens, output_tokens, succeeded=succeeded)
        if succeeded:
            self._jct.observe(account.jct_ns * _NS)
        if account.first_token_ns is not None:
            self._ttft.observe(account.first_token_ns * _NS)
            if output_tokens > 1:
                self._tpot.observe((account.jct_ns - account.first_token_ns) * _NS / (output_tokens - 1))

    def on_commit(self, took_ns: int) -> None:
        """One commit of the token log."""
        self._commits.inc()
        self._commit_s.observe(took_ns * _NS)

    def on_refused(self, error: SkipjoinError) -> None:
        """A request was answered with an error."""
        self._refused.labels(error.code.lower()).inc()

    def on_limit(self, limit: str) -> None:
        """A bound of `LIMITS` was reached: a request or a connection was turned away for it."""
        self._limits.labels(limit).inc()

    # the scrape
    # -------------------------------------------------------------------------------------------------
    def set_engine(self, snapshot: SnapshotGiven | None) -> None:
        """Queues and KV now; None when no engine can say: then no stale figure is shown."""
        for level in self._levels:
            for gauge in (self._level_jobs, self._level_waiting, self._level_wait):
                gauge.remove(level)
        self._levels = set()
        self._kv.clear()
        self._policy.clear()
        if snapshot is None:
            self._live.set(0)
            self._running.set(0)
            return
        self.worst.on_snapshot(snapshot)
        self._policy.labels(snapshot.policy).set(1)
        for row in snapshot.levels:
            level = str(row.level)
            self._levels.add(level)
            self._level_jobs.labels(level).set(row.jobs)
            self._level_waiting.labels(level).set(row.jobs - row.running)
            self._level_wait.labels(level).set(row.oldest_wait_ns * _NS)
        kv = snapshot.kv
        for pool in ("device", "host"):
            for state in ("free", "owned", "in_flight"):
                self._kv.labels(pool, state).set(getattr(kv, f"{pool}_{state}"))
        self._kv_clean.set(kv.clean_pages)
        self._kv_used.set(1 - kv.device_free / kv.device_total if kv.device_total else 0)
        self._live.set(snapshot.live_jobs)
        self._running.set(snapshot.running_jobs)

    def set_pool(self, depth: PoolDepth, running_jobs: int) -> None:
        """Jobs in the pool now."""
        for state in ("accepted", "claimed", "final"):
            self._pool.labels(state).set(getattr(depth, state))
        self._waiting.set(max(0, depth.accepted + depth.claimed - running_jobs))

    def set_door(self, state: DoorState) -> None:
        """The door now."""
        self._ready.set(state.engine_ready)
        self._draining.set(state.draining)
        self._starts.set(state.engine_starts)
        self._failed_starts.set(state.engine_failed_starts)
        for stage, count in state.engine_stalls.items():
            self._stalls.labels(stage).set(count)
        self._spare.set(state.spare_ready)
        self._streams.set(state.open_streams)
        self._payload.set(state.payload_bytes)
        self._uptime.set(state.uptime_ns * _NS)
        self._worst_wait.set(self.worst.wait_ns * _NS)
        self._worst_slowdown.set(self.worst.slowdown)
        self._cost_factor.set(self._correction.factor)
        self._cost_error.set(self._correction.relative_error)
        self._cost_seen.set(self._correction.observations)

    def render(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)
