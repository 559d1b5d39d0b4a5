"""What was learned comes back as it was, and whatever is no such text is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipjoin.core.errors import InvalidInput
from skipjoin.scheduler.lengths.features import PLACES
from skipjoin.scheduler.lengths.forecast import Forecast
from skipjoin.scheduler.lengths.learned import MAX_BYTES, fresh, read, write
from skipjoin.scheduler.lengths.score import LengthScore

from .test_forecast import attributes, expected, teach


def taught() -> Forecast:
    forecast = fresh(b"salt")
    teach(forecast, 60, {"short": 30, "long": 1500})
    forecast.rebuild()
    return forecast


TAUGHT = write(taught())


def test_it_comes_back_with_curves_guesses_and_guard() -> None:
    before, after = taught(), read(TAUGHT)
    assert after.guard.lead == pytest.approx(before.guard.lead)
    assert after.score is not None and before.score is not None
    assert after.score.sd == pytest.approx(before.score.sd)
    for tenant in ("short", "long", "new"):
        mine, theirs = before.expect(attributes(tenant)), after.expect(attributes(tenant))
        assert (mine.bucket, mine.score, mine.keys) == (theirs.bucket, theirs.score, theirs.keys)
        assert expected(after, tenant) == pytest.approx(expected(before, tenant), rel=1e-4)


def test_written_again_it_is_the_same_text() -> None:
    assert write(read(TAUGHT)) == TAUGHT
    assert write(fresh(b"a")) == write(read(write(fresh(b"a"))))


def test_nothing_learned_stays_cold() -> None:
    forecast = read(write(fresh(b"salt")))
    assert forecast.rebuilds == 0
    teach(forecast, 8, {"one": 50})
    assert forecast.rebuilds == 1


def test_a_full_table_keeps_within_its_bound() -> None:
    forecast, rng = fresh(b"s" * 16), np.random.default_rng(1)
    assert isinstance(forecast.score, LengthScore)
    forecast.score.weights[:] = rng.normal(size=PLACES)
    forecast.score.squares[:] = rng.random(PLACES)
    for counts in (forecast.lengths.counts, forecast.table.counts):
        counts.restore(rng.random(counts.shape), rng.random(counts.shape))
    assert len(write(forecast)) < MAX_BYTES // 1.5
    read(write(forecast))


@given(st.integers(0, len(TAUGHT) - 1), st.integers(1, 255))
def test_one_byte_changed_is_found(at: int, change: int) -> None:
    torn = bytearray(TAUGHT)
    torn[at] ^= change
    with pytest.raises(InvalidInput):
        read(bytes(torn))


@given(st.integers(0, len(TAUGHT) - 1))
def test_a_torn_text_is_found(size: int) -> None:
    with pytest.raises(InvalidInput):
        read(TAUGHT[:size])


@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        read(data)


def forged(change: str, value: object) -> bytes:
    """With a checksum that fits."""
    from skipjoin.scheduler.lengths.learned import _checksum

    line = json.loads(TAUGHT)
    place, keys = line["state"], change.split(".")
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    line["checksum"] = _checksum(line["state"])
    return json.dumps(line).encode()


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("salt", 5),
        ("salt", "zz"),
        ("lead", None),
        ("lead", 1e9),
        ("variance", -1),
        ("variance", True),
        ("salt", "00" * 65),
        ("prompts", []),
        ("prompts.ended", ""),
        ("scores.passed", "!!"),
        ("features.places", "//8="),
        ("features.weights", "AAAA"),
        ("features.squares", json.loads(TAUGHT)["state"]["scores"]["ended"]),
    ],
)
def test_numbers_out_of_bounds_are_refused(change: str, value: object) -> None:
    with pytest.raises(InvalidInput, match="learned"):
        read(forged(change, value))


def test_another_version_is_named() -> None:
    other = json.loads(TAUGHT) | {"learned": 2}
    with pytest.raises(InvalidInput, match="version is 2"):
        read(json.dumps(other).encode())
    with pytest.raises(InvalidInput, match="at most"):
        read(b" " * (MAX_BYTES + 1))
