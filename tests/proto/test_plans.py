"""A plan on its way to another rank says what it said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipjoin.core.asked import Asked
from skipjoin.core.errors import InvariantViolation
from skipjoin.core.ids import Handle, MoveId
from skipjoin.core.plan import (
    NO_DECODE,
    Admit,
    BlockTable,
    DecodeBatch,
    Direction,
    IterationPlan,
    Move,
    PageAppends,
    PrefillChunk,
)
from skipjoin.core.sampling import SamplingParams
from skipjoin.proto import ranks_pb2 as pb
from skipjoin.proto.plans import PlanReader, PlanWriter

HANDLES = st.integers(-1, 2**62).map(Handle)
PAGES = st.lists(st.integers(0, 2**31 - 1), max_size=9).map(lambda pages: np.array(pages, dtype=np.int32))
SAMPLING = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 0.7, 1.0]),
    top_k=st.integers(0, 50),
    top_p=st.sampled_from([0.5, 1.0]),
    repetition_penalty=st.sampled_from([1.0, 1.3]),
    seed=st.integers(0, 2**63 - 1),
    max_new_tokens=st.integers(1, 9),
    stop=st.lists(st.sampled_from(["x", "end"]), max_size=2).map(tuple),
    stop_token_ids=st.lists(st.integers(0, 9), max_size=2).map(tuple),
    logprobs=st.none() | st.integers(0, 3),
)


@st.composite
def admits(draw: st.DrawFn) -> Admit:
    """An admission of some tokens."""
    tokens = np.array(draw(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=9)), dtype=np.int32)
    prompt = draw(st.integers(1, len(tokens)))
    return Admit(draw(HANDLES), tokens, len(tokens), prompt, Asked(draw(SAMPLING)), draw(st.integers(0, 2**63 - 1)))


@st.composite
def moves(draw: st.DrawFn) -> Move:
    """A move of some pages."""
    pages = draw(PAGES)
    return Move(
        MoveId(draw(st.integers(0, 2**40))), draw(st.sampled_from(Direction)), draw(HANDLES), pages, pages[::-1]
    )


@st.composite
def plans(draw: st.DrawFn) -> IterationPlan:
    """Any plan; it need not make sense."""
    pages = draw(PAGES)
    return IterationPlan(
        seq=draw(st.integers(-2, 2**40)),
        generation=draw(st.integers(1, 9)),
        decode=DecodeBatch(np.array(draw(st.lists(HANDLES, max_size=5)), dtype=np.int64)),
        prefills=tuple(
            draw(st.lists(st.builds(PrefillChunk, HANDLES, st.just(3), st.just(4), st.booleans()), max_size=3))
        ),
        admits=tuple(draw(st.lists(admits(), max_size=2))),
        tables=tuple(draw(st.lists(st.builds(BlockTable, HANDLES, PAGES), max_size=2))),
        new_pages=PageAppends(np.arange(len(pages), dtype=np.int64), pages),
        moves=tuple(draw(st.lists(moves(), max_size=2))),
        dropped=tuple(draw(st.lists(HANDLES, max_size=3))),
        predicted_ns=None,
    )


def _plain(value: Any) -> Any:
    """Columns as lists, so that plans can be compared."""
    if isinstance(value, np.ndarray):
        return (str(value.dtype), value.tolist())
    if isinstance(value, (IterationPlan, DecodeBatch, PageAppends, Move)):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


@given(st.lists(plans(), min_size=1, max_size=4))
def test_a_plan_says_the_same_at_the_other_end(written: list[IterationPlan]) -> None:
    writer, reader = PlanWriter(), PlanReader()
    for plan in written:
        read = reader.read(pb.RankPlan.FromString(writer.write(plan).SerializeToString()))
        assert _plain(read) == _plain(plan)


def test_a_batch_that_stays_is_not_sent_again_and_is_the_same_object() -> None:
    writer, reader, batch = PlanWriter(), PlanReader(), DecodeBatch(np.arange(64))
    read = []
    for seq, decode in enumerate([batch, batch, NO_DECODE, batch]):
        message = writer.write(IterationPlan(seq, 1, decode))
        assert bool(message.decode) == (seq in (0, 3))
        read.append(reader.read(message).decode)
    assert read[0] is read[1]
    assert len(read[2]) == 0
    assert read[3].handles.tolist() == list(range(64))


@pytest.mark.parametrize(
    "broken",
    [
        pb.RankPlan(decode=b"1234567"),
        pb.RankPlan(prefills=b"12345678"),
        pb.RankPlan(tables=[pb.RankTable(pages=b"123")]),
    ],
)
def test_a_malformed_plan_is_our_bug(broken: pb.RankPlan) -> None:
    with pytest.raises(InvariantViolation):
        PlanReader().read(broken)
