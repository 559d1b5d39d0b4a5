"""Profiles of every version that there was, kept in tests/golden/formats, are read with every value
as it was written.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from skipjoin.cost.linear import LinearCostModel
from skipjoin.cost.schema import READ_VERSIONS, FitError, Profile, Tables, parse_profile, render_profile
from skipjoin.cost.table import Curve, Grid, TableCostModel

FORMATS = Path(__file__).parents[1] / "golden" / "formats"
MOVE_NS = 131072 / 22.25
FIT = FitError(0.03125, 0.125, 0.5, 77)
REGIONS = (("prefill_short", FitError(0.0625, 0.25, 0.5, 11)), ("mixed", FitError(0.015625, 0.0625, 0.125, 7)))
TABLES = TableCostModel(
    Curve((1, 64, 2048), (1e6, 2e6, 9.5e6)),
    Curve((1, 16), (5e4, 8e4)),
    Grid((16, 512), (0, 1024), ((1e4, 2e4), (3e5, 5e5))),
    Grid((1, 64), (16, 4096), ((2e4, 9e4), (4e4, 3e6))),
    Grid((16, 512), (0, 1024), ((0.0, 1e3), (2e3, 4e3))),
    2.5e5,
    MOVE_NS,
)


def _wanted(fit: FitError, tables: Tables | None) -> Profile:
    return Profile(
        model=LinearCostModel(5.5e6, 62500.0, 3.5, 250.0, 12500.0, MOVE_NS),
        model_name="Some 7B é",
        device="NVIDIA H200",
        dtype="bfloat16",
        tensor_parallel=2,
        pipeline_parallel=1,
        kv_tokens=123456,
        host_kv_tokens=654321,
        token_bytes=131072,
        link_out_gbps=25.5,
        link_in_gbps=22.25,
        max_context_tokens=8192,
        fit=fit,
        source="Made for a test of formats.",
        tables=tables,
    )


WANTED = {
    1: _wanted(FIT, None),
    2: _wanted(replace(FIT, regions=REGIONS), Tables(TABLES, FitError(0.0078125, 0.03125, 0.0625, 77))),
}


@pytest.mark.parametrize("version", READ_VERSIONS)
def test_a_profile_of_each_version(version: int) -> None:
    text = (FORMATS / f"profile-version-{version}.json").read_text(encoding="utf-8")
    profile = parse_profile(text, "golden")
    assert profile == WANTED[version]
    assert parse_profile(render_profile(profile), "again") == profile
