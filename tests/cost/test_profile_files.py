"""Profile files: what is written reads back, and every malformed one is refused by file and field."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipjoin.core.errors import InvalidProfile
from skipjoin.cost.linear import LinearCostModel
from skipjoin.cost.profiles import load_profile, profile_names
from skipjoin.cost.schema import FitError, Profile, move_token_ns, parse_profile, render_profile

costs = st.floats(0, 1e9, allow_nan=False)


@given(costs, costs, costs, st.integers(1, 10**7), st.floats(0.1, 1e4), st.none() | st.integers(0, 10**6))
def test_what_is_written_reads_back(a: float, p: float, d: float, size: int, link: float, host: int | None) -> None:
    model = LinearCostModel(a + 1, p, p / 7, d, d / 3, move_token_ns(size, link, link * 2))
    fit = FitError(0.01, 0.05, 0.2, 40)
    profile = Profile(model, "m", "cpu", "float32", 1, 2, 4_096, host, size, link, link * 2, 512, fit, "a test")
    back = parse_profile(render_profile(profile), "here")
    for field in LinearCostModel.__dataclass_fields__:
        assert getattr(back.model, field) == pytest.approx(getattr(profile.model, field), rel=1e-12)
    assert render_profile(back) == render_profile(profile) or back.model != profile.model  # milliseconds may round once
    assert (back.kv_tokens, back.host_kv_tokens, back.fit, back.pipeline_parallel) == (4_096, host, fit, 2)


def shipped() -> dict[str, Any]:
    raw = json.loads(render_profile(load_profile("opt-13b-a100")))
    assert isinstance(raw, dict)
    return raw


def drop(section: str, key: str) -> Callable[[dict[str, Any]], None]:
    return lambda raw: (raw[section] if section else raw).pop(key)


def put(section: str, key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda raw: (raw[section] if section else raw).__setitem__(key, value)


@pytest.mark.parametrize(
    ("spoil", "field"),
    [
        (drop("coefficients", "decode_job_ms"), "coefficients.decode_job_ms"),
        (drop("kv", "device_tokens"), "kv.device_tokens"),
        (drop("", "source"), "source"),
        (drop("", "link"), "link"),
        (put("coefficients", "fixed_ms", float("nan")), "coefficients.fixed_ms"),
        (put("coefficients", "fixed_ms", float("inf")), "coefficients.fixed_ms"),
        (put("coefficients", "fixed_ms", -1), "coefficients.fixed_ms"),
        (put("coefficients", "fixed_ms", 10**400), "coefficients.fixed_ms"),
        (put("coefficients", "fixed_ms", "19"), "coefficients.fixed_ms"),
        (put("coefficients", "fixed_ms", 1e7), "coefficients.fixed_ms"),
        (lambda raw: raw["coefficients"].update(fixed_ms=0, decode_job_ms=0), "coefficients.fixed_ms"),
        (put("coefficients", "surprise_ms", 1), "coefficients.surprise_ms"),
        (put("kv", "device_tokens", 0), "kv.device_tokens"),
        (put("kv", "device_tokens", 1.5), "kv.device_tokens"),
        (put("kv", "host_tokens", -1), "kv.host_tokens"),
        (put("kv", "bytes_per_token", True), "kv.bytes_per_token"),
        (put("link", "out_gb_per_s", 0), "link.out_gb_per_s"),
        (put("parallelism", "tensor", 0), "parallelism.tensor"),
        (put("", "parallelism", []), "parallelism"),
        (put("", "version", 3), "version"),
        (put("", "format", "other"), "format"),
        (put("", "model", ""), "model"),
        (put("", "fit", {"mean": 0.1}), "fit.p95"),
        (put("", "extra", 1), "extra"),
    ],
)
def test_a_spoiled_profile_is_refused_by_file_and_field(
    spoil: Callable[[dict[str, Any]], None], field: str, tmp_path: Path
) -> None:
    raw = shipped()
    spoil(raw)
    path = tmp_path / "spoiled.json"
    path.write_text(json.dumps(raw))
    with pytest.raises(InvalidProfile) as caught:
        load_profile(str(path))
    assert caught.value.field == field
    assert "spoiled.json" in caught.value.message


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe\x00", b"null", b"[" * 100_000, b"9" * 10_000])
def test_what_is_no_profile_at_all_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(InvalidProfile, match=r"broken\.json"):
        load_profile(str(path))


def test_a_field_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.json"
    path.write_text(json.dumps(shipped()).replace('"fixed_ms"', '"fixed_ms": 0.5, "fixed_ms"', 1))
    with pytest.raises(InvalidProfile, match=r"twice\.json: fixed_ms stands there twice") as caught:
        load_profile(str(path))
    assert caught.value.field == "fixed_ms"


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InvalidProfile, match="too large"):
        load_profile(str(path))


@pytest.mark.parametrize("name", ["opt-13c", "", "a\0b"])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(InvalidProfile, match="opt-13b-a100"):
        load_profile(name)


def test_a_folder_is_no_profile(tmp_path: Path) -> None:
    with pytest.raises(InvalidProfile, match="directory"):
        load_profile(str(tmp_path))


def test_every_shipped_profile_loads() -> None:
    assert "opt-13b-a100" in profile_names()
    for name in profile_names():
        assert load_profile(name).model.decode_ns(1, 0) > 0
