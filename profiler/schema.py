"""The profile file: a versioned JSON object that says what one (model, device, parallelism) costs and holds.

Owns `Profile`, its reader and its writer, with every bound and unit. It knows no folder and no package data; `profiles` finds files, `fit`
and the measuring command make them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.errors import InvalidProfile
from .model import LinearCostModel

FORMAT = "skipjoin-profile"
VERSION = 1
MAX_FILE_BYTES = 1 << 20
_NS_PER_MS = 1e6
_COEFFICIENTS = (
    # key in the file (milliseconds), field of the model (nanoseconds)
    ("fixed_ms", "fixed_ns"),
    ("prefill_token_ms", "prefill_token_ns"),
    ("prefill_pair_ms", "prefill_pair_ns"),
    ("decode_context_ms", "decode_context_ns"),
    ("decode_job_ms", "decode_job_ns"),
)
_TOP = ("format", "version", "model", "device", "dtype", "parallelism", "coefficients", "kv", "link", "fit", "source")


@dataclass(frozen=True, slots=True)
class FitError:
    """How well the coefficients explain the `rows` they were fitted on: relative errors, 0.05 = 5 %."""

    mean: float
    p95: float
    worst: float
    rows: int


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile.

    `kv_tokens` is the device's room for KV in tokens, `host_kv_tokens` the host's (None: not said), `token_bytes` the KV of one token on
    all ranks together, `link_out_gbps` and `link_in_gbps` GB (10^9 bytes) a second device to host and back (None: not measured, as without
    host pages; moves then cost nothing). `fit` is None when the source states no error. `model.move_token_ns` follows from the slower link.
    """

    model: LinearCostModel
    model_name: str
    device: str
    dtype: str
    tensor_parallel: int
    pipeline_parallel: int
    kv_tokens: int
    host_kv_tokens: int | None
    token_bytes: int
    link_out_gbps: float | None
    link_in_gbps: float | None
    max_context_tokens: int | None
    fit: FitError | None
    source: str


def move_token_ns(token_bytes: int, link_out_gbps: float | None, link_in_gbps: float | None) -> float:
    """Nanoseconds for one token's KV on the slower direction of the link; bytes / (GB/s) is nanoseconds. 0 for an unknown link."""
    known = [speed for speed in (link_out_gbps, link_in_gbps) if speed is not None]
    return token_bytes / min(known) if known else 0.0


def parse_profile(text: str | bytes, file: str) -> Profile:
    """Read a profile; `file` names it in errors. Raises InvalidProfile naming file and field."""
    if len(text) > MAX_FILE_BYTES:
        raise InvalidProfile(f"Profile {file} is too large.", field="file", limit=f"at most {MAX_FILE_BYTES} bytes")
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as problem:
        where = f" in line {problem.lineno}" if isinstance(problem, json.JSONDecodeError) else ""
        raise InvalidProfile(f"Profile {file} is not JSON{where}.", field="file") from None
    top = _Section(raw, file, "")
    if top.text("format") != FORMAT:
        raise InvalidProfile(f"{file} is not a profile of skipjoin.", field="format", limit=repr(FORMAT))
    version = top.whole("version", 0)
    if version != VERSION:
        raise InvalidProfile(
            f"Profile {file} has version {version}; this program reads version {VERSION}. Measure it again.",
            field="version",
            limit=str(VERSION),
        )
    top.only(_TOP)
    parallelism, kv, link = top.section("parallelism"), top.section("kv"), top.section("link")
    parallelism.only(("tensor", "pipeline"))
    kv.only(("device_tokens", "host_tokens", "bytes_per_token", "max_context_tokens"))
    link.only(("out_gb_per_s", "in_gb_per_s"))
    token_bytes = kv.whole("bytes_per_token", 1)
    link_out, link_in = link.speed_or_null("out_gb_per_s"), link.speed_or_null("in_gb_per_s")
    costs = top.section("coefficients")
    costs.only(tuple(key for key, _ in _COEFFICIENTS))
    in_ns = {name: costs.real(key) * _NS_PER_MS for key, name in _COEFFICIENTS}
    try:
        model = LinearCostModel(**in_ns, move_token_ns=move_token_ns(token_bytes, link_out, link_in))
    except InvalidProfile as problem:
        raise InvalidProfile(f"Profile {file}: {problem.message}", field=problem.field, limit=problem.limit) from None
    return Profile(
        model=model,
        model_name=top.text("model"),
        device=top.text("device"),
        dtype=top.text("dtype"),
        tensor_parallel=parallelism.whole("tensor", 1),
        pipeline_parallel=parallelism.whole("pipeline", 1),
        kv_tokens=kv.whole("device_tokens", 1),
        host_kv_tokens=kv.whole_or_null("host_tokens", 0),
        token_bytes=token_bytes,
        link_out_gbps=link_out,
        link_in_gbps=link_in,
        max_context_tokens=kv.whole_or_null("max_context_tokens", 1),
        fit=_fit(top),
        source=top.text("source"),
    )


def render_profile(profile: Profile) -> str:
    """The file's text, with a newline at its end; `parse_profile` reads the same profile back."""
    fit = profile.fit
    return (
        json.dumps(
            {
                "format": FORMAT,
                "version": VERSION,
                "model": profile.model_name,
                "device": profile.device,
                "dtype": profile.dtype,
                "parallelism": {"tensor": profile.tensor_parallel, "pipeline": profile.pipeline_parallel},
                "coefficients": {key: getattr(profile.model, name) / _NS_PER_MS for key, name in _COEFFICIENTS},
                "kv": {
                    "device_tokens": profile.kv_tokens,
                    "host_tokens": profile.host_kv_tokens,
                    "bytes_per_token": profile.token_bytes,
                    "max_context_tokens": profile.max_context_tokens,
                },
                "link": {"out_gb_per_s": profile.link_out_gbps, "in_gb_per_s": profile.link_in_gbps},
                "fit": None
                if fit is None
                else {"mean": fit.mean, "p95": fit.p95, "worst": fit.worst, "rows": fit.rows},
                "source": profile.source,
            },
            indent=2,
        )
        + "\n"
    )


def _fit(top: _Section) -> FitError | None:
    if top.value("fit") is None:
        return None
    fit = top.section("fit")
    fit.only(("mean", "p95", "worst", "rows"))
    return FitError(fit.real("mean"), fit.real("p95"), fit.real("worst"), fit.whole("rows", 1))


class _Section:
    """One object of the file, with the path to it, so that an error can name the field."""

    def __init__(self, raw: Any, file: str, path: str) -> None:
        self._file = file
        self._path = path
        if not isinstance(raw, Mapping):
            raise self._wrong("" if path else "file", "an object")
        self._raw = raw

    def only(self, keys: tuple[str, ...]) -> None:
        for key in self._raw:
            if key not in keys:
                raise self._wrong(str(key), f"one of {', '.join(keys)}", "is no field of a profile")

    def value(self, key: str) -> Any:
        if key not in self._raw:
            raise self._wrong(key, "present", "is missing")
        return self._raw[key]

    def section(self, key: str) -> _Section:
        return _Section(self.value(key), self._file, f"{self._path}{key}.")

    def text(self, key: str) -> str:
        value = self.value(key)
        if not isinstance(value, str) or not 1 <= len(value) <= 4096:
            raise self._wrong(key, "text of 1 to 4096 characters")
        return value

    def whole(self, key: str, low: int) -> int:
        value = self.value(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= 2**53:
            raise self._wrong(key, f"a whole number from {low} to 2^53")
        return value

    def whole_or_null(self, key: str, low: int) -> int | None:
        return None if self.value(key) is None else self.whole(key, low)

    def speed_or_null(self, key: str) -> float | None:
        return None if self.value(key) is None else self.real(key, open_low=True)

    def real(self, key: str, *, open_low: bool = False) -> float:
        value = self.value(key)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not 0 <= value <= 1e15 or (open_low and value == 0):  # not 0 <= NaN
            raise self._wrong(key, "a finite number above 0" if open_low else "a finite number, 0 or more")
        return float(value)

    def _wrong(self, key: str, limit: str, what: str = "cannot be used") -> InvalidProfile:
        field = f"{self._path}{key}".rstrip(".")
        return InvalidProfile(f"Profile {self._file}: {field} {what}; it must be {limit}.", field=field, limit=limit)
