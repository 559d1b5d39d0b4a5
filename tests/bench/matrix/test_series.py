"""The dial as an axis of a matrix: names, keys, what is simulated, and how the report draws it
beside others' fronts.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from skipjoin.bench.charts.looks import LOOKS, PLAIN, look, ordered
from skipjoin.bench.matrix.cell import Jobs, Run, drain, measure, prepare
from skipjoin.bench.matrix.runner import make_plan
from skipjoin.bench.matrix.scenario import FOLDER, load_matrix
from skipjoin.bench.matrix.summary import knows_lengths
from skipjoin.bench.report.charts import Others, Spot, dialled, plane
from skipjoin.cli import main
from skipjoin.core.errors import InvalidSettings
from skipjoin.cost.profiles import load_profile
from skipjoin.engine.params import EngineParams
from skipjoin.scheduler.registry import DIAL_NAMES, ORACLE_NAMES, POLICY_NAMES, make_policy
from skipjoin.scheduler.series import Series, parse, spread
from skipjoin.sim.study import turned

MINE = """
title = "mine"
requests = 40
warmup = 4
loads = [1.2]
batches = [4]
policies = ["fcfs", "adaptive", "adaptive:0.25"]
tails = [0, 1]

[[traces]]
name = "shape:reasoning"

[[references]]
name = "theirs"
source = "a study"
points = [[0.9, 1.1], [0.8, 1.4]]
"""


def test_who_has_a_dial() -> None:
    cost = load_profile("opt-13b-a100").model
    assert {name for name in POLICY_NAMES if hasattr(make_policy(name, cost), "set_tail")} == set(DIAL_NAMES)


def test_a_name_says_where_the_dial_stands() -> None:
    assert parse("adaptive") == Series("adaptive") and parse("nobody") == Series("nobody")
    assert parse("adaptive:0.50") == Series("adaptive", 0.5)
    assert [parse(name).name for name in ("adaptive:0.50", "adaptive:0", "adaptive:1.0", "adaptive:-0")] == [
        "adaptive:0.5",
        "adaptive:0",
        "adaptive:1",
        "adaptive:0",
    ]
    for name in ("fcfs:0.5", "adaptive:", "adaptive:2", "adaptive:-0.1", "adaptive:inf", "adaptive:0.5:0.5"):
        with pytest.raises(InvalidSettings):
            parse(name)


def test_tails_spread_what_leaves_its_dial_alone() -> None:
    assert spread("adaptive", (0.0, 0.5)) == ("adaptive:0", "adaptive:0.5")
    assert spread("adaptive", ()) == ("adaptive",)
    assert spread("adaptive:0.25", (0.0, 0.5)) == ("adaptive:0.25",)
    assert spread("fcfs", (0.0, 0.5)) == ("fcfs",)


def test_a_plan_holds_each_series_once() -> None:
    front = load_matrix(FOLDER / "front.toml", {})
    dials = [f"adaptive:{tail:g}" for tail in front.tails]
    assert make_plan(front, None).policies == ("fcfs", "fcfs-swap", *dials, "gittins", "skipjoin", "srpt-oracle")
    twice = load_matrix(FOLDER / "front.toml", {"policies": ("adaptive:0.5", "adaptive"), "tails": ("0.5", "1")})
    assert make_plan(twice, None).policies == ("adaptive:0.5", "adaptive:1")
    plain = load_matrix(FOLDER / "front.toml", {"policies": ("fcfs",)})
    assert make_plan(plain, None).policies == ("fcfs",)
    every = load_matrix(FOLDER / "front.toml", {"policies": ("all",)})
    assert set(make_plan(every, None).policies) == {*POLICY_NAMES, *dials} - {"adaptive"}


def test_the_dial_reaches_the_engine_and_the_key() -> None:
    jobs = Jobs("shape:reasoning", seed=1, batch=4, requests=60, warmup=5, profile="opt-13b-a100")
    machine, _, _ = prepare(jobs)
    assert turned(machine, "adaptive") == (machine, "adaptive")
    assert turned(machine, "adaptive:0.25")[0].params == replace(machine.params, tail=0.25)
    rate = drain(jobs)["drain_rate_per_s"]
    lines = {name: measure(Run(jobs, 1.2, name, rate)) for name in ("adaptive", "adaptive:0", "adaptive:0.65")}
    for name, line in lines.items():
        assert line["key"]["policy"] == line["result"]["policy"] == name
    means = {name: line["result"]["mean_jct_s"] for name, line in lines.items()}
    assert EngineParams().tail == 0.65
    assert means["adaptive"] == means["adaptive:0.65"] != means["adaptive:0"]


def test_tables_and_page_show_every_series_and_the_reference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, page, table = tmp_path / "mine.toml", tmp_path / "page.html", tmp_path / "table.md"
    file.write_text(MINE)
    words = ["bench", "matrix", "--scenario", str(file), "--out", str(tmp_path), "--jobs", "1"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert main(words) == 0
    lines: list[dict[str, Any]] = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines].count("reference") == 1
    assert main(["bench", "report", str(tmp_path), "--out", str(page), "--markdown", str(table)]) == 0
    text, marked = page.read_text(), table.read_text()
    for name in ("adaptive:0", "adaptive:0.25", "adaptive:1"):
        assert name in said.splitlines()[0].split()
        assert f"| `{name}` |" in marked and f">{name}</td>" in text
    assert "theirs (a study)" in text and "mean 0.8 P99 1.4" in text
    # A changed front under the same name takes the place of the old one.
    file.write_text(MINE.replace("[0.8, 1.4]", "[0.7, 1.5]"))
    assert main(words) == 0
    assert main(["bench", "report", str(tmp_path), "--out", str(page)]) == 0
    assert "mean 0.7 P99 1.5" in page.read_text() and "mean 0.8 P99 1.4" not in page.read_text()


def test_one_dial_is_one_line_by_its_settings() -> None:
    spots = [Spot(f"adaptive:{tail:g}", 0.6 + tail / 5, 1.5 - tail / 3) for tail in (1, 0, 0.5)]
    assert [tail for tail, _ in dialled([*spots, Spot("fcfs", 1, 1)])["adaptive"]] == [0, 0.5, 1]
    assert dialled([spots[0], Spot("adaptive", 1, 1)]) == {}
    drawn = plane([*spots, Spot("fcfs", 1.0, 1.0)], "", [Others("theirs", "a study", ((0.9, 1.1), (0.8, 1.4)))])
    line = re.search(r'<title>adaptive: its dial[^<]*</title>\s*<path d="([^"]*)"', drawn)
    assert line is not None
    rights = [float(point.split()[1]) for point in line[1].strip().splitlines()]
    assert len(rights) == 3 and rights == sorted(rights, reverse=True)
    assert ">adaptive 0<" in drawn and ">0.5<" in drawn and ">theirs<" in drawn
    assert "theirs, by a study: mean 0.9 P99 1.1, mean 0.8 P99 1.4" in drawn
    assert "by a study" not in plane(spots, "")


def test_every_policy_has_a_look_of_its_own() -> None:
    looks = [look(name) for name in POLICY_NAMES]
    assert PLAIN not in looks and len({(one.colour, one.dash) for one in looks}) == len(looks)
    assert set(LOOKS) <= {*POLICY_NAMES, "priority"}
    faint, strong = look("adaptive:0"), look("adaptive:1")
    assert faint.colour == strong.colour == look("adaptive").colour and faint.strength < strong.strength == 1.0
    assert ordered(["fcfs", "zzz", "adaptive:0.5", "adaptive:0.25", "adaptive"]) == [
        "adaptive",
        "adaptive:0.25",
        "adaptive:0.5",
        "fcfs",
        "zzz",
    ]


def test_who_knows_lengths() -> None:
    assert {name for name in POLICY_NAMES if knows_lengths(name)} == set(ORACLE_NAMES)
