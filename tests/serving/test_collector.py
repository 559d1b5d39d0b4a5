"""The door's process looks seldom for objects that only keep each other."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from skipjoin.serving.door.collector import LOOKS, YOUNG_OBJECTS, collect_rarely


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_thousands_of_new_objects_are_no_reason_to_look() -> None:
    collect_rarely()
    looked = [generation["collections"] for generation in gc.get_stats()]
    kept = [(number,) for number in range(YOUNG_OBJECTS // 2)]
    assert [generation["collections"] for generation in gc.get_stats()] == looked
    del kept


def test_what_keeps_itself_goes_in_the_end() -> None:
    collect_rarely()
    begun = gc.get_stats()[0]["collected"]
    for _ in range(YOUNG_OBJECTS + 1):
        ring: list[object] = []
        ring.append(ring)
    assert gc.get_stats()[0]["collected"] > begun
    assert gc.get_threshold() == (YOUNG_OBJECTS, LOOKS, LOOKS)
