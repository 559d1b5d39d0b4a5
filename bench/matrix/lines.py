"""What a line of results must hold, by its kind: a file that a person edited is refused by field.

Owns the fields that summary and report read. A kind that is not known here is not read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ...core.errors import SkipjoinError
from ...scheduler.series import parse

Test = Callable[[Any], bool]


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1e18  # no NaN


def _known_or_not(value: Any) -> bool:
    return value is None or _number(value)


def _above_zero(value: Any) -> bool:
    return _number(value) and value >= 1e-12


def _whole(value: Any) -> bool:
    return _number(value) and isinstance(value, int)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _series(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(parse(value))
    except SkipjoinError:
        return False


def _times(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_above_zero, value))


def _pairs(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(map(_number, pair)) for pair in value
    )


def _jobs(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(next(_lacking(job, _JOB), None) is None for job in value)


_JOB: dict[str, Test] = {
    "prompt_tokens": _whole,
    "output_tokens": _whole,
    "arrival_s": _number,
    "first_token_s": _number,
    "end_s": _above_zero,
    "runs_s": _pairs,
}
_RESULT = ("mean_jct_s", "p99_jct_s", "mean_normalized_latency_s", "mean_ttft_s", "mean_tpot_s", "max_slowdown")
_FIELDS: dict[str, dict[str, Test]] = {
    "drain": {"drain_rate_per_s": _above_zero},
    "run": {
        "key.trace": _text,
        "key.seed": _whole,
        "key.batch": _whole,
        "key.requests": _whole,
        "key.warmup": _whole,
        "key.profile": _text,
        "key.inputs": _text,
        "key.load": _above_zero,
        "key.policy": _series,
        "bounds.alone": _number,
        "bounds.work": _number,
        "result.requests": _above_zero,
        **{f"result.{name}": _known_or_not for name in _RESULT},
        "result.output_token_throughput": _known_or_not,
        "result.preemptions": _number,
        "result.bytes_moved": _number,
        "jct_s": _times,
    },
    "timeline": {"key.policy": _series, "jobs": _jobs},
    "reference": {"key.name": _text, "key.source": _text, "key.points": _pairs},
}


def fault(line: dict[str, Any]) -> str | None:
    """The first field that is missing or no value of its kind; None where all is well."""
    return next(_lacking(line, _FIELDS.get(line["kind"], {})), None)


def _lacking(value: Any, fields: dict[str, Test]) -> Iterator[str]:
    for name, fits in fields.items():
        at = value
        for part in name.split("."):
            at = at.get(part, _MISSING) if isinstance(at, dict) else _MISSING
        if not fits(at):
            yield name


_MISSING = object()
