"""A job's time, cut so that what is shown adds up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipjoin.admin.render import size, span
from skipjoin.admin.split import in_steps, parts_of, shares
from skipjoin.proto.job_pool_pb2 import JobAccount

TIMES = st.lists(st.integers(0, 10**15), min_size=5, max_size=5)


@given(TIMES, st.integers(0, 1000))
def test_shares_sum_to_the_whole_and_are_nearly_exact(values: list[int], whole: int) -> None:
    cut = shares(values, whole)
    assert sum(cut) == (whole if sum(values) else 0)
    for part, value in zip(cut, values, strict=True):
        assert part >= 0
        assert abs(part * sum(values) - value * whole) < max(1, sum(values))


@given(TIMES, st.sampled_from([1, 1000, 10**6]))
def test_rounded_rows_sum_to_the_rounded_total(values: list[int], step: int) -> None:
    steps, total = in_steps(values, step)
    assert sum(steps) == total or not sum(values)
    assert abs(total * step - sum(values)) <= step / 2 + 1


def test_the_parts_are_the_accounts() -> None:
    account = JobAccount(queued_ns=1, prefill_ns=20, decode_ns=300, preempted_ns=4000, moving_ns=50000, preemptions=9)
    assert [(part.name, part.ns) for part in parts_of(account)] == [
        ("queued", 1), ("prefill", 20), ("decode", 300), ("preempted", 4000), ("moving", 50000),
    ]  # fmt: skip
    fields = {field.name for field in JobAccount.DESCRIPTOR.fields if field.name.endswith("_ns")} - {"first_token_ns"}
    assert {f"{part.name}_ns" for part in parts_of(account)} == fields


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ms"),
        (-5, "0 s"),
        (1_234_567, "1.23 ms"),
        (1_500_000_000, "1.5 s"),
        (200 * 10**9, "3 min 20 s"),
        (8000 * 10**9, "2 h 13 min"),
    ],
)
def test_spans(ns: int, text: str) -> None:
    assert span(ns) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (400 * 2**20, "400 MiB"), (2**60, "1048576 TiB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text
