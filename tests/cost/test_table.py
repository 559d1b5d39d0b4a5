"""The table cost model: exact at its places, straight between them, and a CostModel like the other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipjoin.core.errors import InvalidProfile
from skipjoin.cost.profiles import load_profile
from skipjoin.cost.schema import FitError, Profile, Tables, parse_profile, render_profile
from skipjoin.cost.table import Curve, Grid, TableCostModel

CURVE = Curve((1, 4, 16), (100.0, 400.0, 1000.0))
GRID = Grid((1, 3), (10, 20, 40), ((10.0, 20.0, 40.0), (30.0, 60.0, 120.0)))
MODEL = TableCostModel(
    tokens=Curve((1, 256, 2048), (1e6, 2e6, 2e7)),
    sequences=Curve((1, 64), (1e5, 2e5)),
    prefill=Grid((16, 2048), (0, 4096), ((1e4, 5e4), (4e6, 2e7))),
    decode=Grid((1, 64), (16, 1000, 4096), ((1e4, 3e4, 1e5), (2e5, 1e6, 4e6))),
    beside=Grid((1, 64), (16, 4096), ((5e4, 4e5), (9e5, 9e6))),
    step_ns=5e5,
    move_token_ns=7.5,
)


def test_a_curve_is_exact_at_its_places_straight_between_and_goes_on() -> None:
    assert [CURVE(x) for x in (0, 1, 2, 4, 10, 16, 28)] == [100, 100, 200, 400, 700, 1000, 1600]
    assert Curve((5,), (7.0,))(100) == 7.0


def test_a_grid_is_exact_at_its_places_and_bilinear_between() -> None:
    assert [GRID(1, 10), GRID(3, 40), GRID(2, 10), GRID(2, 30), GRID(5, 10), GRID(1, 60)] == [10, 120, 20, 60, 50, 60]
    assert GRID.row(2)(30) == 60


@given(st.integers(0, 60), st.integers(0, 60))
def test_a_total_is_the_sum_of_its_values(first: int, count: int) -> None:
    assert CURVE.total(first, first + count) == pytest.approx(sum(CURVE(x) for x in range(first, first + count + 1)))


def test_an_iteration_is_the_sum_of_its_parts() -> None:
    assert MODEL.decode_ns(0, 0) == 0
    assert MODEL.decode_ns(64, 64_000) == 500_000 + round(1e6 + 63 * 1e6 / 255) + 200_000 + 1_000_000
    mixed = MODEL.iteration_ns(((2048, 0), (16, 4096)), 1, 16)
    # two chunks are one launch: the least of the prefill grid is taken off once
    dense = 2e7 + 17 * 1.8e7 / 1792
    assert mixed == round(5e5 + dense + 1e5 + 2 * 1e5 / 63 + 4e6 + 5e4 - 1e4 + 5e4)
    assert MODEL.iteration_ns((), 3, 99) == MODEL.decode_ns(3, 99)
    assert MODEL.prompt_ns(100) == MODEL.iteration_ns(((100, 0),), 0, 0)
    assert MODEL.move_ns(3) == 23
    assert MODEL.chunk_ns(0, 5) == 0


@given(st.integers(1, 3000), st.integers(0, 5000))
def test_a_chunk_costs_no_more_than_its_iteration_and_never_less_when_longer(tokens: int, before: int) -> None:
    own = MODEL.chunk_ns(tokens, before)
    assert 0 < own <= MODEL.iteration_ns(((tokens, before),), 0, 0)
    assert own <= MODEL.chunk_ns(tokens + 1, before)


@given(st.integers(1, 300), st.integers(1, 300))
def test_alone_is_the_prompt_and_every_decode(prompt: int, output: int) -> None:
    decodes = sum(MODEL.decode_ns(1, prompt + n) for n in range(1, output))
    assert MODEL.alone_ns(prompt, output) == pytest.approx(MODEL.prompt_ns(prompt) + decodes, abs=output)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Curve((1, 1), (1.0, 2.0)), "at"),
        (lambda: Curve((), ()), "at"),
        (lambda: Curve((1, float("nan")), (1.0, 2.0)), "at"),
        (lambda: Curve((1, 2), (1.0, float("nan"))), "ns"),
        (lambda: Curve((1, 2), (1.0, -1.0)), "ns"),
        (lambda: Curve((1, 2), (1.0,)), "ns"),
        (lambda: Grid((1, 2), (1,), ((1.0,),)), "ns"),
        (lambda: TableCostModel(Curve((1,), (0.0,)), Curve((1,), (0.0,)), GRID, Grid((1,), (1,), ((0.0,),)), GRID),
         "tokens"),
        (lambda: TableCostModel(CURVE, CURVE, GRID, GRID, GRID, step_ns=float("inf")), "step_ns"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_refused(make: object, field: str) -> None:
    with pytest.raises(InvalidProfile) as caught:
        make()  # type: ignore[operator]
    assert caught.value.field == field


def with_tables() -> Profile:
    plain = load_profile("opt-13b-a100")
    error = FitError(
        0.1, 0.2, 0.3, 9, (("prefill_short", FitError(0.1, 0.2, 0.3, 4)), ("mixed", FitError(0.01, 0.2, 0.3, 5)))
    )
    fields = {name: getattr(plain, name) for name in Profile.__dataclass_fields__} | {"fit": error}
    model = TableCostModel(CURVE, CURVE, GRID, GRID, GRID, 3.0, plain.model.move_token_ns)
    return Profile(**fields | {"tables": Tables(model, None)})


def test_a_profile_with_tables_and_regions_reads_back_as_version_two() -> None:
    profile = with_tables()
    text = render_profile(profile)
    assert '"version": 2' in text
    assert parse_profile(text, "here") == profile
    assert profile.cost is profile.tables.model  # type: ignore[union-attr]


def test_a_profile_without_them_stays_version_one_for_older_programs() -> None:
    plain = load_profile("opt-13b-a100")
    assert '"version": 1' in render_profile(plain)
    assert plain.cost is plain.model


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('"at": [1, 4, 16]', '"at": [1, 4, 4]', "tables.tokens.at"),
        ('"at": [1, 4, 16]', '"at": [1, 4]', "tables.tokens.ms"),
        ('"at": [1, 4, 16]', '"at": "many"', "tables.tokens.at"),
        ('"columns": [10, 20, 40]', '"columns": [10, 20, -1]', "tables.prefill.columns[2]"),
        ('"ms": [0.0001, 0.0004, 0.001]', '"ms": [0.0001, NaN, 0.001]', "tables.tokens.ms[1]"),
        ("[3e-05, 6e-05, 0.00012]", "[3e-05, -1, 0.00012]", "tables.prefill.ms[1][1]"),
        ("[3e-05, 6e-05, 0.00012]", "[3e-05, 2e6, 0.00012]", "tables.prefill.ms[1][1]"),
        ('"columns": [10, 20, 40]', '"columns": [10, 20]', "tables.prefill.ms"),
        ('"rows": [1, 3]', '"rows": [1, 2, 3]', "tables.prefill.ms"),
        ('"step_ms"', '"stop_ms"', "tables.stop_ms"),
        ('"prefill_short"', '"prefill_tiny"', "fit.regions.prefill_tiny"),
        ('"version": 2', '"version": 1', "tables"),
    ],
)
def test_spoiled_tables_are_refused_by_field(old: str, new: str, field: str) -> None:
    text = render_profile(with_tables())
    assert old in text
    with pytest.raises(InvalidProfile, match="here") as caught:
        parse_profile(text.replace(old, new, 1), "here")
    assert caught.value.field == field
