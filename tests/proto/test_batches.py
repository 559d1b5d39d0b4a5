"""Between door and engine: every event and effect survives, broken bytes are refused, frames come out
whole whatever cuts them.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipjoin.core import effects as ef
from skipjoin.core import events as ev
from skipjoin.core.asked import Asked
from skipjoin.core.errors import InvariantViolation
from skipjoin.core.executor import ExecutorFacts
from skipjoin.core.job import FinishReason, JobAccount, LevelCause
from skipjoin.core.logprobs import TokenLogprobs
from skipjoin.core.sampling import SamplingParams
from skipjoin.proto import batches, frames
from skipjoin.proto import engine_pb2 as pb

N = st.integers(0, 2**62)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
INT32 = st.lists(st.integers(-(2**31), 2**31 - 1), max_size=6).map(lambda xs: np.array(xs, dtype=np.int32))
LEVEL = st.integers(1, 40)
ACCOUNT = st.builds(JobAccount, *[N] * 9, first_token_ns=st.none() | N)
SAMPLING = st.builds(SamplingParams, temperature=st.floats(0, 2), seed=st.none() | N, stop=st.just(("a", "é")))
KV = st.builds(ef.KvDepth, *[N] * 9)
LOGPROBS = st.builds(TokenLogprobs, st.floats(-9, 0), st.just(((1, -0.5), (2, -1.5))))

EVENTS: dict[type, st.SearchStrategy[Any]] = {
    ev.Submitted: st.builds(
        ev.Submitted,
        handle=N,
        prompt_tokens=N,
        asked=st.builds(Asked, SAMPLING, st.integers(-100, 100)),
        arrival_ns=st.integers(-(2**62), 2**62),
        tenant=TEXT,
        prompt=st.none() | INT32,
        has_prompt=st.booleans(),
        generated=st.none() | INT32,
        deadline_ns=st.none() | N,
        alone=st.booleans(),
        output_tokens=st.none() | N,
        earlier_output_tokens=N,
    ),
    ev.PromptArrived: st.builds(ev.PromptArrived, N, INT32),
    ev.CancelRequested: st.builds(ev.CancelRequested, N),
    ev.PolicyChosen: st.builds(ev.PolicyChosen, TEXT, st.none() | st.floats(0, 1)),
    ev.AccountAsked: st.builds(ev.AccountAsked, N, N),
    ev.SnapshotAsked: st.builds(ev.SnapshotAsked, N),
}
EFFECTS: dict[type, st.SearchStrategy[Any]] = {
    ef.Started: st.builds(ef.Started, N, LEVEL),
    ef.Preempted: st.builds(ef.Preempted, N, LEVEL),
    ef.Resumed: st.builds(ef.Resumed, N, LEVEL),
    ef.LevelChanged: st.builds(ef.LevelChanged, N, LEVEL, LEVEL, st.sampled_from(LevelCause)),
    ef.Recomputed: st.builds(ef.Recomputed, N, N),
    ef.Finished: st.builds(
        ef.Finished, N, st.sampled_from(FinishReason), N, ACCOUNT, st.none() | st.tuples(TEXT, TEXT)
    ),
    ef.PromptsNeeded: st.builds(ef.PromptsNeeded, st.lists(N, max_size=4).map(tuple)),
    ef.AccountGiven: st.builds(ef.AccountGiven, N, N, st.none() | ACCOUNT, st.none() | LEVEL, st.none() | TEXT),
    ef.SnapshotGiven: st.builds(
        ef.SnapshotGiven,
        N,
        TEXT,
        st.lists(st.builds(ef.LevelDepth, LEVEL, N, N, N), max_size=3).map(tuple),
        KV,
        N,
        N,
        st.none() | st.floats(0, 1),
    ),
}
STATS = st.builds(ef.TurnStats, *[N] * 9, predicted_ns=st.none() | N, measured_ns=st.none() | N)


def tokens_of(rows: list[tuple[int, int, int]], logprobs: Any) -> ef.TokensEmitted:
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    return ef.TokensEmitted(
        np.array(columns[0], np.int64), np.array(columns[1], np.int32), np.array(columns[2], np.int32), logprobs
    )


TOKENS = st.lists(st.tuples(N, st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1)), max_size=5).flatmap(
    lambda rows: st.builds(
        tokens_of,
        st.just(rows),
        st.none() | st.lists(st.none() | LOGPROBS, min_size=len(rows), max_size=len(rows)).map(tuple),
    )
)


def same(a: Any, b: Any) -> bool:
    """Equality that looks into arrays, with their types."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    if is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def test_the_tables_hold_every_event_and_effect() -> None:
    assert set(EVENTS) == set(get_args(ev.Event))
    assert set(EFFECTS) == set(get_args(ef.Effect))


@given(N, st.lists(st.one_of(*EVENTS.values()), max_size=4))
def test_events_survive(incarnation: int, events: list[ev.Event]) -> None:
    frame = frames.decode_from_door(batches.encode_events(incarnation, events))
    assert isinstance(frame, frames.Events)
    assert frame.incarnation == incarnation
    back = frame.events
    assert len(back) == len(events)
    assert all(map(same, events, back))


@given(N, STATS, st.none() | TOKENS, st.lists(st.one_of(*EFFECTS.values()), max_size=4).map(tuple))
def test_effects_survive(
    incarnation: int, stats: ef.TurnStats, tokens: ef.TokensEmitted | None, effects: tuple[ef.Effect, ...]
) -> None:
    turn = ef.TurnEffects(stats, tokens, effects)
    frame = frames.decode_from_engine(batches.encode_effects(incarnation, turn))
    assert isinstance(frame, frames.Effects)
    assert frame.incarnation == incarnation
    assert same(turn, frame.effects)


@given(st.binary(max_size=60))
def test_noise_is_refused_or_read_but_never_another_error(noise: bytes) -> None:
    for decode in (frames.decode_from_door, frames.decode_from_engine):
        try:
            decode(noise)
        except InvariantViolation:
            continue


def test_empty_frames_and_broken_columns_are_refused() -> None:
    for decode in (frames.decode_from_door, frames.decode_from_engine):
        with pytest.raises(InvariantViolation):
            decode(b"")
    frame = pb.EngineFrame()
    frame.effects.tokens.handles = b"\0" * 8
    with pytest.raises(InvariantViolation, match="length"):
        frames.decode_from_engine(frame.SerializeToString())
    frame.effects.tokens.handles = b"\0" * 7
    with pytest.raises(InvariantViolation, match="length"):
        frames.decode_from_engine(frame.SerializeToString())
    door = pb.DoorFrame()
    door.events.events.add()
    with pytest.raises(InvariantViolation, match="empty"):
        frames.decode_from_door(door.SerializeToString())


FACTS = ExecutorFacts(3, 100, 200, 16, 4096, None, 8192)
FROM_DOOR: list[frames.FromDoor] = [
    frames.Hello(7, '{"policy":"skipjoin"}'),
    frames.Events(7, (ev.CancelRequested(3),)),  # type: ignore[arg-type]
    frames.StopAsked(),
]
FROM_ENGINE: list[frames.FromEngine] = [
    frames.Starting(7, "loading its weights", 5, 9),
    frames.Ready(7, 4242, "skipjoin", FACTS, '{"device":"cpu"}'),
    frames.StartFailed(7, "INVALID_MODEL", "no weights"),
    frames.Beat(7, 12, 99),
    frames.Effects(7, ef.TurnEffects(ef.TurnStats(*range(9), None, 5), None, (ef.Started(1, 2),))),
    # type: ignore[arg-type]
]


def test_frames_survive() -> None:
    for from_door in FROM_DOOR:
        assert same(frames.decode_from_door(frames.encode_from_door(from_door)), from_door)
    for from_engine in FROM_ENGINE:
        assert same(frames.decode_from_engine(frames.encode_from_engine(from_engine)), from_engine)


@given(st.lists(st.binary(max_size=30), max_size=6), st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_frames_come_out_whole_whatever_cuts_the_stream(messages: list[bytes], steps: list[int]) -> None:
    stream = b"".join(frames.framed(message) for message in messages)
    reader, out, at, turn = frames.FrameReader(), [], 0, 0
    while at < len(stream):
        step = steps[turn % len(steps)]
        out += reader.feed(stream[at : at + step])
        at, turn = at + step, turn + 1
    assert out == messages
    assert not reader.incomplete


def test_a_length_out_of_bounds_is_refused_before_it_is_read() -> None:
    with pytest.raises(InvariantViolation, match="claims"):
        frames.FrameReader().feed(b"\xff\xff\xff\xff")
    reader = frames.FrameReader()
    assert reader.feed(b"\x05\0\0\0ab") == []
    assert reader.incomplete
