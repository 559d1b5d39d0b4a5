"""DistServe's fitted coefficients: one JSON file of model -> tensor parallel -> three lines,
milliseconds.

Owns their meaning: `prefill` is a + b tokens + c sum of squared prompt lengths, `decoding_smallbs`
and `decoding_largebs` are a + b contexts + c members below and from
`decoding_large_small_bs_threshold`. It knows no other format; `detect` calls it.

One formula cannot hold three constants, so the decode line's is taken for all (an iteration of both
kinds is a decode iteration with more work) and prompts alone are off by the difference; members
above the threshold follow the line below it. The errors by region say how much that costs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...core.errors import InvalidProfile
from ...cost.linear import LinearCostModel
from ...cost.schema import Profile, move_token_ns
from ...cost.sweep_row import SweepRow
from ..fit import fit_error
from .choice import single
from .known import device_of, plain_name, shape_of
from .reading import MAX_BYTES, Wish, read_rows

ROOM_FILE = "max_num_tokens.csv"
ROOM = ("model", "tp", "pp", "max_num_tokens")
_LINES = ("prefill", "decoding_smallbs", "decoding_largebs")
_THRESHOLD = "decoding_large_small_bs_threshold"
_NS_PER_MS = 1e6
_PROMPTS = (16, 32, 64, 128, 256, 512, 1024, 2048)
_MEMBERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_CONTEXTS = (64, 256, 1024)

Lines = dict[str, tuple[float, float, float]]


def fits(files: Sequence[Path]) -> bool:
    """Whether there is such a file among them."""
    return any(_LINES[1] in json_head(path) for path in files if path.suffix == ".json")


def json_head(path: Path) -> str:
    """The first characters of a file; "" when they are no text."""
    try:
        with path.open(encoding="utf-8") as stream:
            return stream.read(4096)
    except (OSError, UnicodeDecodeError):
        return ""


def read(files: Sequence[Path], wish: Wish) -> Profile:
    """The profile of one model at one degree of parallelism. Raises InvalidProfile."""
    jsons = [path for path in files if path.suffix == ".json"]
    coefficients = [path for path in jsons if fits([path])] or jsons
    path = single(coefficients, "JSON file of coefficients", "SOURCE as its path")
    raw = _mapping(path.name, _json(path), "")
    name = _chosen(path.name, raw, wish.model)
    degrees = _mapping(path.name, raw[name], name)
    degree = str(wish.tensor_parallel or min(map(_degree, degrees), default=1))
    if degree not in degrees:
        limit = f"one of {', '.join(degrees)}"
        raise InvalidProfile(
            f"{path.name}: {name} has no tensor parallel {degree}.", field="tensor_parallel", limit=limit
        )
    lines, threshold = _lines(path.name, degrees[degree], f"{name}.{degree}")
    token_bytes = shape_of(name).token_bytes
    small, prefill = lines[_LINES[1]], lines[_LINES[0]]
    move_ns = move_token_ns(token_bytes, wish.link_gbps, wish.link_gbps)
    model = LinearCostModel(small[0], prefill[1], prefill[2], small[1], small[2], move_ns)
    return Profile(
        model=model,
        model_name=name,
        device=device_of(wish, [path.name]),
        dtype="float16",
        tensor_parallel=int(degree),
        pipeline_parallel=1,
        kv_tokens=_room(path.with_name(ROOM_FILE), name, int(degree), wish),
        host_kv_tokens=None,
        token_bytes=token_bytes,
        link_out_gbps=wish.link_gbps,
        link_in_gbps=wish.link_gbps,
        max_context_tokens=None,
        fit=fit_error(model, list(_rows(lines, threshold))),
        source=f"Coefficients of LLMServe/DistServe (Apache-2.0), {path.name}: {name}, tensor parallel {degree}; "
        "the error "
        "is the one formula's against the three published lines, not against a device.",
    )


def _json(path: Path) -> Any:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidProfile(f"{path.name} is too large.", field="source", limit=f"at most {MAX_BYTES} bytes")
        return json.loads(path.read_bytes())
    except json.JSONDecodeError as problem:
        raise InvalidProfile(f"{path.name}, line {problem.lineno}: no JSON.", field="source") from None
    except (ValueError, RecursionError):
        raise InvalidProfile(f"{path.name} is no JSON.", field="source") from None
    except OSError as problem:
        raise InvalidProfile(f"{path.name} cannot be read: {problem.strerror}.", field="source") from None


def _mapping(file: str, value: Any, field: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not value:
        raise InvalidProfile(f"{file}: {field or 'the file'} is no object with entries.", field=field or "source")
    return value


def _chosen(file: str, raw: Mapping[str, Any], wanted: str | None) -> str:
    if wanted is None and len(raw) == 1:
        return next(iter(raw))
    for name in raw:
        if wanted is not None and plain_name(name) == plain_name(wanted):
            return name
    what = "is about several models" if wanted is None else f"has no model {wanted}"
    raise InvalidProfile(f"{file} {what}; give --model.", field="model", limit=f"one of {', '.join(raw)}")


def _degree(text: str) -> int:
    return int(text) if text.isdecimal() else 1 << 30


def _lines(file: str, value: Any, where: str) -> tuple[Lines, int]:
    entry = _mapping(file, value, where)
    lines: Lines = {}
    for key in _LINES:
        numbers = entry.get(key)
        if not isinstance(numbers, list) or len(numbers) != 3 or not all(_is_time(one) for one in numbers):
            raise InvalidProfile(
                f"{file}: {where}.{key} must be three finite numbers, 0 or more.",
                field=f"{where}.{key}",
                limit="3 numbers",
            )
        a, b, c = (float(one) * _NS_PER_MS for one in numbers)
        lines[key] = (a, b, c)
    threshold = entry.get(_THRESHOLD)
    if isinstance(threshold, bool) or not isinstance(threshold, int) or threshold < 1:
        raise InvalidProfile(f"{file}: {where}.{_THRESHOLD} must be whole, 1 or more.", field=f"{where}.{_THRESHOLD}")
    return lines, threshold


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1e9  # no NaN


def _room(path: Path, name: str, degree: int, wish: Wish) -> int:
    if wish.kv_tokens is not None:
        return wish.kv_tokens
    if path.is_file():
        for row in read_rows(path, ROOM):
            if (row.text("model"), row.whole("tp", 1), row.whole("pp", 1)) == (name, degree, 1):
                return row.whole("max_num_tokens", 1)
    raise InvalidProfile(
        f"No {ROOM_FILE} beside the coefficients tells the room for KV of {name} at {degree}; give --kv-tokens.",
        field="kv_tokens",
    )


def _rows(lines: Lines, threshold: int) -> Iterator[SweepRow]:
    """Iterations of each kind by the published lines."""
    a, b, c = lines["prefill"]
    for tokens in _PROMPTS:
        yield SweepRow(((tokens, 0),), 0, 0, round(a + b * tokens + c * tokens * tokens))
    for members in _MEMBERS:
        a, b, c = lines["decoding_smallbs" if members < threshold else "decoding_largebs"]
        for context in _CONTEXTS:
            yield SweepRow((), members, members * context, round(a + b * members * context + c * members))
