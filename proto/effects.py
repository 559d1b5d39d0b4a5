"""Effects of the engine and their messages.

Owns the pair of functions for every effect of core/effects.py, for a turn's token columns and its
numbers, and for the depths that the operator sees. It knows no socket; proto/batches and the admin
service call it.
"""

from __future__ import annotations

from ..core import effects as ef
from ..core.errors import InvariantViolation
from ..core.ids import Handle, Level
from ..core.logprobs import TokenLogprobs
from . import admin_pb2 as admin
from . import engine_pb2 as pb
from .columns import int32_bytes, int32_column, int64_bytes, int64_column
from .terms import (
    CAUSE_TO_WIRE,
    REASON_TO_WIRE,
    account_from_wire,
    account_to_wire,
    cause_from_wire,
    failure_from_wire,
    failure_to_wire,
    logprobs_from_wire,
    logprobs_to_wire,
    reason_from_wire,
)

_KV_FIELDS = (
    "device_total",
    "device_free",
    "device_owned",
    "device_in_flight",
    "host_total",
    "host_free",
    "host_owned",
    "host_in_flight",
    "clean_pages",
)

_STATS_FIELDS = ef.TurnStats._fields


def write_effect(message: pb.EngineEffect, effect: ef.Effect) -> None:
    """Fill an empty message."""
    match effect:
        case ef.Started():
            message.started.handle, message.started.level = effect.handle, effect.level
        case ef.Preempted():
            message.preempted.handle, message.preempted.level = effect.handle, effect.level
        case ef.Resumed():
            message.resumed.handle, message.resumed.level = effect.handle, effect.level
        case ef.LevelChanged():
            changed = message.level_changed
            changed.handle, changed.old, changed.new = effect.handle, effect.old, effect.new
            changed.cause = CAUSE_TO_WIRE[effect.cause]
        case ef.Recomputed():
            message.recomputed.handle, message.recomputed.tokens = effect.handle, effect.tokens
        case ef.Finished():
            _write_finished(message.finished, effect)
        case ef.PromptsNeeded():
            message.prompts_needed.SetInParent()
            message.prompts_needed.handles.extend(effect.handles)
        case ef.AccountGiven():
            _write_account(message.account_given, effect)
        case ef.SnapshotGiven():
            message.snapshot_given.MergeFrom(_snapshot_to_wire(effect))


def read_effect(message: pb.EngineEffect) -> ef.Effect:
    """The effect of a message. Raises InvariantViolation when it holds none."""
    match message.WhichOneof("effect"):
        case "started":
            return ef.Started(Handle(message.started.handle), Level(message.started.level))
        case "preempted":
            return ef.Preempted(Handle(message.preempted.handle), Level(message.preempted.level))
        case "resumed":
            return ef.Resumed(Handle(message.resumed.handle), Level(message.resumed.level))
        case "level_changed":
            moved = message.level_changed
            return ef.LevelChanged(
                Handle(moved.handle), Level(moved.old), Level(moved.new), cause_from_wire(moved.cause)
            )
        case "recomputed":
            return ef.Recomputed(Handle(message.recomputed.handle), message.recomputed.tokens)
        case "finished":
            return _read_finished(message.finished)
        case "prompts_needed":
            return ef.PromptsNeeded(tuple(Handle(handle) for handle in message.prompts_needed.handles))
        case "account_given":
            return _read_account(message.account_given)
        case "snapshot_given":
            return _snapshot_from_wire(message.snapshot_given)
        case _:
            raise InvariantViolation("An effect on the engine's socket is empty.")


def _write_finished(message: pb.Finished, effect: ef.Finished) -> None:
    message.MergeFrom(
        pb.Finished(
            handle=effect.handle,
            reason=REASON_TO_WIRE[effect.reason],
            output_tokens=effect.output_tokens,
            account=account_to_wire(effect.account),
            failure=failure_to_wire(effect.failure),
        )
    )


def _read_finished(message: pb.Finished) -> ef.Finished:
    return ef.Finished(
        handle=Handle(message.handle),
        reason=reason_from_wire(message.reason),
        output_tokens=message.output_tokens,
        account=account_from_wire(message.account),
        failure=failure_from_wire(message.failure) if message.HasField("failure") else None,
    )


def _write_account(message: pb.AccountGiven, effect: ef.AccountGiven) -> None:
    message.question, message.handle = effect.question, effect.handle
    if effect.account is not None:
        message.account.MergeFrom(account_to_wire(effect.account))
    if effect.level is not None:
        message.level = effect.level
    if effect.phase is not None:
        message.phase = effect.phase


def _read_account(message: pb.AccountGiven) -> ef.AccountGiven:
    return ef.AccountGiven(
        question=message.question,
        handle=Handle(message.handle),
        account=account_from_wire(message.account) if message.HasField("account") else None,
        level=Level(message.level) if message.HasField("level") else None,
        phase=message.phase if message.HasField("phase") else None,
    )


def depth_to_wire(depth: ef.LevelDepth) -> admin.LevelDepth:
    """Jobs of one level."""
    return admin.LevelDepth(
        level=depth.level, jobs=depth.jobs, running=depth.running, oldest_wait_ns=depth.oldest_wait_ns
    )


def depth_from_wire(message: admin.LevelDepth) -> ef.LevelDepth:
    """Jobs of one level."""
    return ef.LevelDepth(Level(message.level), message.jobs, message.running, message.oldest_wait_ns)


def kv_to_wire(kv: ef.KvDepth) -> admin.KvDepth:
    """Slots of both pools."""
    return admin.KvDepth(**{name: getattr(kv, name) for name in _KV_FIELDS})


def kv_from_wire(message: admin.KvDepth) -> ef.KvDepth:
    """Slots of both pools."""
    return ef.KvDepth(**{name: getattr(message, name) for name in _KV_FIELDS})


def _snapshot_to_wire(effect: ef.SnapshotGiven) -> pb.SnapshotGiven:
    return pb.SnapshotGiven(
        question=effect.question,
        policy=effect.policy,
        levels=[depth_to_wire(depth) for depth in effect.levels],
        kv=kv_to_wire(effect.kv),
        live_jobs=effect.live_jobs,
        running_jobs=effect.running_jobs,
        tail=effect.tail,
    )


def _snapshot_from_wire(message: pb.SnapshotGiven) -> ef.SnapshotGiven:
    return ef.SnapshotGiven(
        question=message.question,
        policy=message.policy,
        levels=tuple(depth_from_wire(depth) for depth in message.levels),
        kv=kv_from_wire(message.kv),
        live_jobs=message.live_jobs,
        running_jobs=message.running_jobs,
        tail=message.tail if message.HasField("tail") else None,
    )


def write_tokens(message: pb.TokensEmitted, tokens: ef.TokensEmitted) -> None:
    """Fill an empty message with a turn's columns."""
    message.handles = int64_bytes(tokens.handles)
    message.positions = int32_bytes(tokens.positions)
    message.tokens = int32_bytes(tokens.tokens)
    if tokens.logprobs is not None:
        message.has_logprobs = True
        for row, entry in enumerate(tokens.logprobs):
            if entry is not None:
                message.rows.append(row)
                message.logprobs.append(logprobs_to_wire(entry))


def read_tokens(message: pb.TokensEmitted) -> ef.TokensEmitted:
    """A turn's columns. Raises InvariantViolation when they differ in length."""
    handles = int64_column(message.handles)
    positions, tokens = int32_column(message.positions), int32_column(message.tokens)
    count = len(handles)
    if len(positions) != count or len(tokens) != count or len(message.rows) != len(message.logprobs):
        raise InvariantViolation("The columns of a turn's tokens differ in length.")
    if not message.has_logprobs:
        return ef.TokensEmitted(handles, positions, tokens)
    logprobs: list[TokenLogprobs | None] = [None] * count
    for row, entry in zip(message.rows, message.logprobs, strict=True):
        if not 0 <= row < count:
            raise InvariantViolation("A log-probability belongs to no token of its turn.")
        logprobs[row] = logprobs_from_wire(entry)
    return ef.TokensEmitted(handles, positions, tokens, tuple(logprobs))


def write_stats(message: pb.TurnStats, stats: ef.TurnStats) -> None:
    """Fill an empty message with the numbers of one turn; what is None stays out."""
    for name, value in zip(_STATS_FIELDS, stats, strict=True):
        if value is not None:
            setattr(message, name, value)


def stats_from_wire(message: pb.TurnStats) -> ef.TurnStats:
    """Numbers of one turn."""
    return ef.TurnStats(
        seq=message.seq,
        now_ns=message.now_ns,
        decode_jobs=message.decode_jobs,
        prefill_tokens=message.prefill_tokens,
        live_jobs=message.live_jobs,
        free_pages=message.free_pages,
        pages_out=message.pages_out,
        pages_in=message.pages_in,
        planning_ns=message.planning_ns,
        predicted_ns=message.predicted_ns if message.HasField("predicted_ns") else None,
        measured_ns=message.measured_ns if message.HasField("measured_ns") else None,
    )
