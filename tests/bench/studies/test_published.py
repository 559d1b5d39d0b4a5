"""`skipjoin bench published`: a small CSV of published points of our own making, read, drawn again
and compared.
"""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from skipjoin.bench.progress import Bar
from skipjoin.bench.studies.published import cut
from skipjoin.bench.studies.reading import COLUMNS, FILE, Crossing, Point, crossing, read_curves
from skipjoin.bench.studies.redraw import PANELS, Redrawn, Setting, Span, named, over, reaches, redraw
from skipjoin.cli import main
from skipjoin.core.errors import InvalidInput, InvalidSettings, InvalidTrace

HEAD = ",".join(COLUMNS)
SVG = "{http://www.w3.org/2000/svg}"
FAST = ("--jobs", "100", "--seeds", "1", "--batch", "4", "--kv-tokens", "2400", "--level", "0.1")
CURVES = {
    ("overall.pdf", "sharegpt OPT-13B", "vLLM"): ((0.5, 0.02), (1.5, 0.52)),
    ("overall.pdf", "sharegpt OPT-13B", "FastServe"): ((0.5, 0.02), (1.501, 0.1), (3.0, 0.5)),
    ("overall.pdf", "sharegpt OPT-13B", "somebody else"): ((9.0, 0.1),),
    ("fig11_sharegpt.pdf", "AE sharegpt OPT-13B single GPU", "vLLM"): ((0.5, 0.1), (1.5, 0.2)),
    ("abaltion_swapping.pdf", "swap ablation", "proactive"): ((1.5, 0.1), (3.0, 0.5)),
    ("abaltion_swapping.pdf", "swap ablation", "recompute"): ((1.5, 0.4),),
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with published points and a trace in which a few long jobs stand in the way of many
    short ones.
    """
    lines = [f"{','.join(key)},{rate},{latency}," for key, points in CURVES.items() for rate, latency in points]
    lines.append("overall.pdf,sharegpt OPT-13B,vLLM,2.0,0.66,clipped at plot border")
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / FILE).write_text("\n".join([HEAD, *lines]) + "\n")
    rows = [f"{at},{40 + at},{400 if at % 8 == 0 else 20}" for at in range(80)]
    rows.append("80,3000,20")
    (tmp_path / "sharegpt1turn.csv").write_text("\n".join(["arrival_s,prompt_tokens,output_tokens", *rows]) + "\n")
    return tmp_path


def drawn(data: Path, name: str, starvation: str = "granted", limit_s: float = 0.02) -> Redrawn:
    setting = Setting(str(data), jobs=60, seeds=1, batch=4, kv_tokens=1600, starvation=starvation, limit_s=limit_s)
    return redraw(named(name)[0], read_curves(data / "published" / FILE), setting, Quiet())


class Quiet(Bar):
    """Counts what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted = self.done = 0

    def begin(self, what: str, jobs: int) -> None:
        self.wanted += jobs

    def ended(self, jobs: int) -> None:
        self.done += jobs

    def end(self) -> None:
        assert self.done == self.wanted


def test_a_curve_crosses_where_its_line_first_does() -> None:
    points = (Point(1.0, 0.1), Point(2.0, 0.2), Point(3.0, 0.4), Point(4.0, 0.2), Point(5.0, 0.9))
    found = crossing(points, 0.3)
    assert found is not None
    assert (found.rate, found.beyond) == (pytest.approx(2.5), False)
    assert crossing(points, 1.0) == Crossing(5.0, beyond=True)
    assert crossing(points, 0.05) is None
    assert crossing((), 0.3) is None


def test_a_ratio_says_when_it_is_only_a_bound() -> None:
    assert over(Crossing(6.0), Crossing(2.0)) == Crossing(3.0)
    assert over(Crossing(6.0, beyond=True), Crossing(2.0)) == Crossing(3.0, beyond=True)
    assert over(Crossing(6.0), Crossing(2.0, beyond=True)) is None
    assert over(None, Crossing(2.0)) is None


def test_a_line_ends_where_it_leaves_the_picture() -> None:
    points = (Point(1.0, 0.1), Point(2.0, 0.5), Point(3.0, 0.2))
    assert cut(points, 0.3) == [Point(1.0, 0.1), Point(pytest.approx(1.5), 0.3)]
    assert cut(points, 0.9) == list(points)


def test_points_come_by_rising_rate_and_know_whether_they_were_measured(data: Path) -> None:
    curves = {(curve.figure, curve.system): curve for curve in read_curves(data / "published" / FILE)}
    assert curves["overall.pdf", "vLLM"].points == (Point(0.5, 0.02), Point(1.5, 0.52), Point(2.0, 0.66, False))


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("a.pdf,p,s,fast,0.1,", "arrival_rate_job_s"),
        ("a.pdf,p,s,0,0.1,", "arrival_rate_job_s"),
        ("a.pdf,p,s,1.0,nan,", "latency_s_per_token"),
        ("a.pdf,p,s,1.0,-1,", "latency_s_per_token"),
        ("a.pdf,p,s,1.0", "latency_s_per_token"),
        ("a.pdf,p,s,1.0,0.1,,more", "note"),
        ("a.pdf,p,,1.0,0.1,", "system"),
        ('a.pdf,p,"s,1.0,0.1,', "line"),
    ],
)
def test_a_bad_line_is_named_with_file_line_and_field(tmp_path: Path, line: str, field: str) -> None:
    file = tmp_path / FILE
    file.write_text(f"{HEAD}\nb.pdf,p,s,1.0,0.1,\n\n{line}\n")
    with pytest.raises(InvalidTrace) as caught:
        read_curves(file)
    assert f"{FILE}, line 4" in caught.value.message
    assert caught.value.field == field
    assert str(tmp_path) not in str(caught.value)


def test_a_file_without_a_column_or_without_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / FILE
    for content, field in ((b"", COLUMNS[0]), (HEAD.replace("panel", "pane").encode(), "panel"), (b"\xff\xfe", "file")):
        file.write_bytes(content)
        with pytest.raises(InvalidTrace) as caught:
            read_curves(file)
        assert caught.value.field == field
    with pytest.raises(InvalidTrace, match="cannot be read"):
        read_curves(tmp_path / "nothing.csv")


def test_as_many_jobs_as_arrive_in_a_while() -> None:
    span = Span(seconds=200, least=20, most=400)
    assert [span.jobs(rate) for rate in (0.01, 0.5, 1.75, 10.0)] == [20, 100, 350, 400]
    with pytest.raises(InvalidSettings, match="no panel 'nothing'"):
        named("kv,nothing")
    assert named("kv,kv , sharegpt") == (PANELS[2], PANELS[0])


def test_published_and_ours_stand_side_by_side(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKIPJOIN_BENCH_DATA", str(data))
    files = [tmp_path / "one.json", tmp_path / "two.json"]
    picture = tmp_path / "picture.svg"
    words = ("bench", "published", "--panel", "sharegpt", *FAST)
    assert main([*words, "--json", str(files[0]), "--plot", str(picture)]) == 0
    printed = capsys.readouterr().out
    assert main([*words, "--json", "-"]) == 0
    files[1].write_text(capsys.readouterr().out)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert str(data) not in files[0].read_text()

    panel = json.loads(files[0].read_text())["panels"][0]
    assert (panel["rows"], panel["left_out"]) == (80, 1)
    vllm = next(one for one in panel["published"] if (one["source"], one["system"]) == ("paper", "vLLM"))
    assert vllm["crossing"]["rate"] == pytest.approx(0.5 + 0.08 / 0.5)
    ours = {one["name"]: one for one in panel["ours"]}
    assert [point["rate"] for point in ours["fcfs"]["points"]][:3] == [0.5, 1.5, 3.0]
    ratio = ours["skipjoin"]["crossing"]["rate"] / ours["fcfs"]["crossing"]["rate"]
    assert panel["ratios"]["fcfs"]["rate"] == pytest.approx(ratio)
    assert panel["holds"] is True
    assert ratio >= 1.6
    assert "somebody else" not in printed
    assert "reached" in printed
    assert "0.520" in printed

    root = ElementTree.fromstring(picture.read_text())
    assert len(root.findall(f".//{SVG}title")) == 2 + 4


def test_a_missed_target_is_the_exit_code(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    equal = tmp_path / "equal.csv"  # nobody is shorter than anybody: no order of jobs gains
    rows = [f"{at},50,20" for at in range(80)]
    equal.write_text("\n".join(["arrival_s,prompt_tokens,output_tokens", *rows]) + "\n")
    file = tmp_path / "told.json"
    words = ("--panel", "sharegpt", *FAST, "--batch", "1", "--lengths", str(equal), "--json", str(file))
    assert main(["bench", "published", "--data", str(data), *words]) == 1
    assert "the rate of fcfs: MISSED" in capsys.readouterr().out
    panel = json.loads(file.read_text())["panels"][0]
    assert (panel["holds"], panel["unknown"]) == (False, None)
    assert not panel["ratios"]["fcfs"]["beyond"]
    assert panel["ratios"]["fcfs"]["rate"] < 1.6


@pytest.mark.parametrize(
    ("level", "why"), [("5", "fcfs stays below 5 s per token up to"), ("0.001", "fcfs is above 0.001 s per token at")]
)
def test_a_target_of_which_nobody_can_tell_is_no_miss(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], level: str, why: str
) -> None:
    file = tmp_path / "told.json"
    words = ("--panel", "sharegpt", "--jobs", "20", "--seeds", "1", "--batch", "64", "--level", level)
    assert main(["bench", "published", "--data", str(data), *words, "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    assert f"unknown, {why}" in printed and "MISSED" not in printed
    assert "(80 rows, beside 1 left out as too long;" in printed
    panel = json.loads(file.read_text())["panels"][0]
    assert panel["holds"] is None and why in panel["unknown"]


def test_bounds_decide_a_target_where_they_can() -> None:
    two, five = Crossing(2.0), Crossing(5.0)
    assert [reaches(five, two, times) for times in (2.5, 2.6)] == [True, False]
    at_least = Crossing(5.0, beyond=True)
    assert [reaches(at_least, two, times) for times in (2.5, 2.6)] == [True, None]
    far = Crossing(2.0, beyond=True)
    assert [reaches(five, far, times) for times in (2.5, 2.6)] == [None, False]
    assert reaches(at_least, far, 2.6) is None
    assert (reaches(None, two, 1.6), reaches(five, None, 1.6)) == (False, None)


def test_a_curve_is_not_followed_far_beyond_the_limit(data: Path) -> None:
    panel = drawn(data, "sharegpt", limit_s=0.005)
    assert panel.rates() == (0.5,)
    assert panel.crossings() == dict.fromkeys(panel.ours)
    assert panel.ratio("fcfs") is None
    assert panel.holds is None


def test_manners_of_keeping_kv_differ_as_they_must(data: Path) -> None:
    panel = drawn(data, "kv", "paper")
    last = {name: next(one for one in points if one.rate == 3.0) for name, points in panel.ours.items()}
    assert last["proactive"].gigabytes_moved > 0
    assert last["reactive"].gigabytes_moved > 0
    assert last["recompute"].gigabytes_moved == 0
    assert last["recompute"].tokens_recomputed > last["proactive"].tokens_recomputed
    assert last["reactive, waiting"].latency_s > last["reactive"].latency_s


def test_what_the_file_lacks_is_said(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidTrace, match="no panel 'alpaca OPT-13B'"):
        drawn(data, "alpaca")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["bench", "published", "--data", str(empty)]) == InvalidInput.exit_code
    assert main(["bench", "published", "--data", str(tmp_path / "none")]) == InvalidInput.exit_code
    assert main(["bench", "published", "--data", str(data), "--seeds", "0"]) == InvalidInput.exit_code
