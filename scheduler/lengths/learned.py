"""What was learned, as bytes that outlive the process: one line of JSON with a version and a
checksum.

Owns the form, both ways, and every check of what is read. It knows no file: whoever keeps the bytes
hands them in, and starts cold with `Forecast()` of a fresh salt when they are refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
from typing import Any

import numpy as np

from ...core.errors import InvalidInput
from .features import LONGEST_SALT, PLACES
from .forecast import Forecast
from .guard import LARGEST_LEAD
from .life_counts import Floats, LifeCounts
from .score import LARGEST_VARIANCE, LengthScore

VERSION = 1
"""Moves when buckets, bins or features do: counts of other ones say nothing."""
MAX_BYTES = 1 << 18
_LARGEST_COUNT = 1e7
_LARGEST_WEIGHT = 1e3


def fresh(salt: bytes = b"") -> Forecast:
    """Nothing learned. `salt` hashes tenants into the table of features: random where it serves,
    fixed where it must repeat.
    """
    return Forecast(score=LengthScore(salt))


def write(forecast: Forecast) -> bytes:
    """As `read` takes it; at most `MAX_BYTES`, ASCII. Float64 becomes float32."""
    state: dict[str, Any] = {"warm": forecast.rebuilds > 0, "lead": forecast.guard.lead}
    for name, counts in (("prompts", forecast.lengths.counts), ("scores", forecast.table.counts)):
        ended, passed = counts.read()
        state[name] = {"ended": _pack(ended, "<f4"), "passed": _pack(passed, "<f4")}
    score = forecast.score
    if isinstance(score, LengthScore):
        places = np.flatnonzero(score.squares)
        state["salt"] = score.salt.hex()
        state["variance"] = score.variance
        state["features"] = {
            "places": _pack(places, "<u2"),
            "weights": _pack(score.weights[places], "<f4"),
            "squares": _pack(score.squares[places], "<f4"),
        }
    return json.dumps(
        {"learned": VERSION, "checksum": _checksum(state), "state": state}, separators=(",", ":")
    ).encode()


def read(data: bytes) -> Forecast:
    """The forecast that was written. Raises InvalidInput for another version, a torn or changed
    text, numbers out of bounds.
    """
    state = _state(data)
    try:
        salt = bytes.fromhex(state["salt"])
        if len(salt) > LONGEST_SALT:
            raise ValueError("salt")
        forecast = fresh(salt)
        _fill(forecast, state)
        if state["warm"]:
            forecast.rebuild()
    except (KeyError, TypeError, ValueError, OverflowError, binascii.Error):
        raise _refusal("It holds what no policy writes.") from None
    return forecast


def _state(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_BYTES:
        raise _refusal(f"It has {len(data)} bytes.", f"at most {MAX_BYTES} bytes")
    try:
        line = json.loads(data)
        version, checksum, state = line["learned"], line["checksum"], line["state"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _refusal("It is no text of this form.") from None
    if version != VERSION or isinstance(version, bool):
        raise _refusal(f"Its version is {str(version)[:20]}.", f"version {VERSION}")
    if not isinstance(state, dict) or checksum != _checksum(state):
        raise _refusal("Its checksum does not fit.")
    return state


def _fill(forecast: Forecast, state: dict[str, Any]) -> None:
    """Raises KeyError, TypeError or ValueError."""
    for name, counts in (("prompts", forecast.lengths.counts), ("scores", forecast.table.counts)):
        _restore(counts, state[name])
    forecast.guard.lead = _number(state["lead"], -LARGEST_LEAD, LARGEST_LEAD)
    score = forecast.score
    assert isinstance(score, LengthScore)
    score.variance = _number(state["variance"], 0.0, LARGEST_VARIANCE)
    features = state["features"]
    places = np.frombuffer(base64.b64decode(features["places"], validate=True), dtype="<u2").astype(np.int64)
    if len(places) > PLACES or (len(places) and (int(places.max()) >= PLACES or (np.diff(places) <= 0).any())):
        raise ValueError("places")
    score.weights[places] = _unpack(features["weights"], (len(places),), -_LARGEST_WEIGHT, _LARGEST_WEIGHT)
    score.squares[places] = _unpack(features["squares"], (len(places),), 0.0, _LARGEST_COUNT)


def _restore(counts: LifeCounts, columns: dict[str, str]) -> None:
    ended, passed = (_unpack(columns[name], counts.shape, 0.0, _LARGEST_COUNT) for name in ("ended", "passed"))
    counts.restore(ended, passed)


def _pack(column: np.ndarray[Any, Any], kind: str) -> str:
    return base64.b64encode(column.astype(kind).tobytes()).decode()


def _unpack(text: str, shape: tuple[int, ...], low: float, high: float) -> Floats:
    column: Floats = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4").astype(np.float64).reshape(shape)
    if not ((column >= low) & (column <= high)).all():  # NaN is neither
        raise ValueError("out of bounds")
    return column


def _number(value: object, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TypeError("no number")
    if not low <= value <= high:
        raise ValueError("out of bounds")
    return float(value)


def _checksum(state: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(state, sort_keys=True).encode(), digest_size=16).hexdigest()


def _refusal(what: str, limit: str | None = None) -> InvalidInput:
    return InvalidInput(f"What was learned cannot be read. {what}", field="learned", limit=limit)
