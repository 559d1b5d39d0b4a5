"""The profile file: a versioned JSON object that says what one (model, device, parallelism) costs
and holds.

Owns `Profile`, its reader and its writer, with every bound and unit (`section` checks one field at
a time). It knows no folder and no package data; `profiles` finds files, `fit`, `sources` and the
measuring command make them.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any

from ..core.errors import InvalidProfile
from .exact import BaseCost
from .linear import LinearCostModel
from .section import Section
from .table import TableCostModel
from .table_file import parse_tables, plain_tables

FORMAT = "skipjoin-profile"
VERSION = 2
READ_VERSIONS = (1, 2)
"""1 has neither regions of the fit nor tables. A profile without them is still written as 1, so
that older programs read it.
"""
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
_LIST = re.compile(r"\[\n([^\[\]]*?)\n\s*\]")
_ERRORS = ("mean", "p95", "worst", "rows")
REGIONS = ("prefill_short", "prefill_long", "decode_small", "decode_large", "mixed")
"""Prompts alone below and from 512 tokens, decodes alone up to and above 16 members, and both
together (`fit.region_of`).
"""


@dataclass(frozen=True, slots=True)
class FitError:
    """How well a cost model explains the `rows` it was fitted on: relative errors, 0.05 = 5 %.

    `regions` holds the same of the rows of each of REGIONS that has any, by name; () when it is not
    known.
    """

    mean: float
    p95: float
    worst: float
    rows: int
    regions: tuple[tuple[str, FitError], ...] = ()


@dataclass(frozen=True, slots=True)
class Tables:
    """A table cost model and how well it explains the measured rows (None: not said)."""

    model: TableCostModel
    fit: FitError | None


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile.

    `kv_tokens` is the device's room for KV in tokens, `host_kv_tokens` the host's (None: not said),
    `token_bytes` the KV of one token on all ranks together, `link_out_gbps` and `link_in_gbps` GB
    (10^9 bytes) a second device to host and back (None: not measured, as without host pages; moves
    then cost nothing). `fit` is None when the source states no error. `model.move_token_ns` follows
    from the slower link. `tables` is there when the source measured more than five coefficients can
    say; `cost` is the finer of the two.
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
    tables: Tables | None = None

    @property
    def cost(self) -> BaseCost:
        """The tables where there are any, else the coefficients."""
        return self.model if self.tables is None else self.tables.model


def move_token_ns(token_bytes: int, link_out_gbps: float | None, link_in_gbps: float | None) -> float:
    """Nanoseconds for one token's KV on the slower direction of the link; bytes / (GB/s) is
    nanoseconds. 0 for an unknown link.
    """
    known = [speed for speed in (link_out_gbps, link_in_gbps) if speed is not None]
    return token_bytes / min(known) if known else 0.0


def parse_profile(text: str | bytes, file: str) -> Profile:
    """Read a profile; `file` names it in errors. Raises InvalidProfile naming file and field."""
    if len(text) > MAX_FILE_BYTES:
        raise InvalidProfile(f"Profile {file} is too large.", field="file", limit=f"at most {MAX_FILE_BYTES} bytes")
    try:
        raw = json.loads(text, object_pairs_hook=lambda pairs: _named_once(pairs, file))
    except (ValueError, RecursionError) as problem:
        where = f" in line {problem.lineno}" if isinstance(problem, json.JSONDecodeError) else ""
        raise InvalidProfile(f"Profile {file} is not JSON{where}.", field="file") from None
    top = Section(raw, file, "")
    if top.text("format") != FORMAT:
        raise InvalidProfile(f"{file} is not a profile of skipjoin.", field="format", limit=repr(FORMAT))
    version = top.whole("version", 0)
    if version not in READ_VERSIONS:
        known = " and ".join(str(one) for one in READ_VERSIONS)
        raise InvalidProfile(
            f"Profile {file} has version {version}; this program reads versions {known}. Measure it again.",
            field="version",
            limit=known,
        )
    top.only(_TOP if version == 1 else (*_TOP, "tables"))
    parallelism, kv, link = top.section("parallelism"), top.section("kv"), top.section("link")
    parallelism.only(("tensor", "pipeline"))
    kv.only(("device_tokens", "host_tokens", "bytes_per_token", "max_context_tokens"))
    link.only(("out_gb_per_s", "in_gb_per_s"))
    token_bytes = kv.whole("bytes_per_token", 1)
    link_out, link_in = link.speed_or_null("out_gb_per_s"), link.speed_or_null("in_gb_per_s")
    model = _coefficients(top.section("coefficients"), move_token_ns(token_bytes, link_out, link_in))
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
        fit=_fit(top, version),
        source=top.text("source"),
        tables=_tables(top, model.move_token_ns) if version > 1 else None,
    )


def _coefficients(costs: Section, move_ns: float) -> LinearCostModel:
    costs.only(tuple(key for key, _ in _COEFFICIENTS))
    in_ns = {name: costs.milliseconds(key) * _NS_PER_MS for key, name in _COEFFICIENTS}
    try:
        return LinearCostModel(**in_ns, move_token_ns=move_ns)
    except InvalidProfile:  # each is a cost; together they are none
        raise costs.wrong("fixed_ms", "1e-06 or more with decode_job_ms", "lets an iteration cost nothing") from None


def _named_once(pairs: list[tuple[str, Any]], file: str) -> dict[str, Any]:
    """An object of the file; of two values by one name a reader may see either."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise InvalidProfile(f"Profile {file}: {key[:40]} stands there twice.", field=key[:40], limit="once")
        found[key] = value
    return found


def render_profile(profile: Profile) -> str:
    """The file's text, with a newline at its end; `parse_profile` reads the same profile back."""
    fit, tables = profile.fit, profile.tables
    value: dict[str, Any] = {
        "format": FORMAT,
        "version": 1 if tables is None and (fit is None or not fit.regions) else VERSION,
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
        "fit": None if fit is None else _plain(fit),
        "source": profile.source,
    }
    if tables is not None:
        value["tables"] = plain_tables(tables.model) | {"fit": None if tables.fit is None else _plain(tables.fit)}
    # A list of numbers on one line: no text of the file holds a raw newline.
    return _LIST.sub(lambda found: f"[{' '.join(found[1].split())}]", json.dumps(value, indent=2)) + "\n"


def _plain(fit: FitError) -> dict[str, Any]:
    value: dict[str, Any] = {key: getattr(fit, key) for key in _ERRORS}
    if fit.regions:
        value["regions"] = {name: _plain(part) for name, part in fit.regions}
    return value


def _fit(owner: Section, version: int) -> FitError | None:
    if owner.value("fit") is None:
        return None
    fit = owner.section("fit")
    fit.only(_ERRORS if version == 1 else (*_ERRORS, "regions"))
    regions: tuple[tuple[str, FitError], ...] = ()
    if version > 1 and fit.has("regions"):
        parts = fit.section("regions")
        parts.only(REGIONS)
        regions = tuple((name, _errors(parts.section(name))) for name in REGIONS if parts.has(name))
    return replace(_errors(fit), regions=regions)


def _errors(fit: Section) -> FitError:
    return FitError(fit.real("mean"), fit.real("p95"), fit.real("worst"), fit.whole("rows", 1))


def _tables(top: Section, move_token: float) -> Tables | None:
    if not top.has("tables"):
        return None
    part = top.section("tables")
    return Tables(parse_tables(part, move_token), _fit(part, VERSION))
