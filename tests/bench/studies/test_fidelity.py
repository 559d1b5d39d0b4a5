"""`skipjoin bench fidelity`: runs of our own making, whose truth is a cost model, are replayed,
refitted and told apart from wrong ones.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "profiler"))

from published import STEM, write_tables

from skipjoin.bench.studies.fidelity import META, figures
from skipjoin.bench.studies.reading import REQUESTS, MeasuredRun, read_run
from skipjoin.bench.studies.replay import Setup, refit, replay
from skipjoin.cli import main
from skipjoin.core.cost_model import CostModel
from skipjoin.core.errors import InvalidTrace
from skipjoin.cost.linear import LinearCostModel
from skipjoin.profiler.sources.detect import read_source
from skipjoin.profiler.sources.reading import Wish

TRUTH = LinearCostModel(9e6, 5e4, 1.0, 80.0, 6e4)
SETUP = Setup(max_batch=16, batch_tokens=1024, kv_tokens=1 << 20)


def wanted(count: int = 80, rate: float = 14.0) -> MeasuredRun:
    """Requests without times: lengths and arrivals from a fixed seed."""
    draw = np.random.default_rng(7)
    arrival_ns = np.rint(np.cumsum(draw.exponential(1e9 / rate, count))).astype(np.int64)
    nothing = np.zeros(count, dtype=np.int64)
    prompts, outputs = (draw.integers(20, high, count).astype(np.int32) for high in (900, 200))
    return MeasuredRun("r", arrival_ns - arrival_ns[0], prompts, outputs, nothing, nothing, SETUP.max_batch)


def served(cost: CostModel, setup: Setup = SETUP, count: int = 80) -> MeasuredRun:
    return replay(cost, wanted(count), setup).run


def written(path: Path, run: MeasuredRun, *, slower: float = 1.0) -> None:
    """The run as a file of requests, all its latencies `slower` times as long, on clocks that start
    elsewhere.
    """
    lines = []
    for at in range(len(run)):
        arrived_s = float(run.arrival_ns[at]) / 1e9
        first_s, end_s = (slower * float(times[at] - run.arrival_ns[at]) / 1e9 for times in (run.first_ns, run.end_ns))
        stamp = 500.0 + arrived_s
        lines.append(
            json.dumps(
                {
                    "request_id": f"r{at}",
                    "input_toks": int(run.prompt_tokens[at]),
                    "output_toks": int(run.output_tokens[at]),
                    "arrival_time": 1.7e9 + arrived_s,
                    "queued_ts": stamp,
                    "scheduled_ts": stamp + first_s,
                    "first_token_ts": stamp + first_s,
                    "last_token_ts": stamp + end_s,
                }
            )
        )
    path.write_text("\n".join(lines) + "\n")


def flagged(path: Path, setup: Setup) -> None:
    flags = {"max_num_seqs": setup.max_batch, "max_num_batched_tokens": setup.batch_tokens}
    pool = {"num_gpu_blocks": setup.kv_tokens // 16 + 1, "block_size": 16}
    path.write_text(json.dumps({"engine_kwargs": flags, "kv_cache": pool}))


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """A folder with tables, and a run that took what they say."""
    setup = replace(SETUP, kv_tokens=8_000)
    write_tables(tmp_path)
    cost = read_source(str(tmp_path), Wish(kv_tokens=setup.kv_tokens)).cost
    written(tmp_path / f"{STEM}{REQUESTS}", served(cost, setup))
    flagged(tmp_path / f"{STEM}{META}", setup)
    return tmp_path


# reading
# ------------------------------------------------------------------------------------------------------------
def test_a_run_reads_back_on_one_clock(tmp_path: Path) -> None:
    run, path = served(TRUTH), tmp_path / f"name{REQUESTS}"
    written(path, run)
    back = read_run(path)
    assert (back.name, len(back)) == ("name", 80)
    assert np.abs(back.first_ns - run.first_ns).max() < 1_000  # stamps of 1.7e9 s hold some hundred ns
    assert np.abs(back.arrival_ns - run.arrival_ns).max() < 1_000
    assert back.mean_latency_s() == pytest.approx(run.mean_latency_s(), rel=1e-5)
    assert back.mean_ttft_s(slice(0, 10)) == pytest.approx(run.mean_ttft_s(slice(0, 10)), rel=1e-5)


def edited(line: int, **changes: object) -> Callable[[list[str]], list[str]]:
    def edit(lines: list[str]) -> list[str]:
        row = json.loads(lines[line - 1]) | changes
        lines[line - 1] = json.dumps({key: value for key, value in row.items() if value is not None})
        return lines

    return edit


@pytest.mark.parametrize(
    ("edit", "says", "field"),
    [
        (edited(3, first_token_ts=None), "line 3: first_token_ts", "first_token_ts"),
        (edited(3, first_token_ts=float("nan")), "line 3: first_token_ts", "first_token_ts"),
        (edited(3, first_token_ts="soon"), "line 3: first_token_ts", "first_token_ts"),
        (edited(3, last_token_ts=1.0), "line 3: a token is earlier", "line"),
        (edited(3, arrival_time=-5.0), "line 3: arrival_time", "arrival_time"),
        (edited(3, output_toks=0), "line 3: output_toks", "output_toks"),
        (edited(3, input_toks=1.5), "line 3: input_toks", "input_toks"),
        (lambda lines: [*lines[:2], "{", *lines[3:]], "line 3: Invalid JSON", "line"),
        (lambda lines: [*lines[:2], "[]", *lines[3:]], "line 3: Input should be an object", "line"),
        (lambda lines: lines[:1], "1 requests", "requests"),
        (lambda _: [], "0 requests", "requests"),
    ],
)
def test_a_malformed_run_is_refused_by_line_and_field(
    edit: Callable[[list[str]], list[str]], says: str, field: str, tmp_path: Path
) -> None:
    path = tmp_path / f"name{REQUESTS}"
    written(path, served(TRUTH, count=5))
    path.write_text("\n".join(edit(path.read_text().splitlines())))
    with pytest.raises(InvalidTrace) as caught:
        read_run(path)
    assert says in str(caught.value)
    assert caught.value.field == field


# replaying
# ----------------------------------------------------------------------------------------------------------
def test_iterations_of_a_replay_take_what_the_model_says_and_keep_to_the_flags() -> None:
    replayed = replay(TRUTH, wanted(), SETUP)
    rows = [step.row for step in replayed.steps]
    assert all(TRUTH.iteration_ns(row.chunks, row.decode_jobs, row.decode_contexts) == row.measured_ns for row in rows)
    assert max(row.decode_jobs + len(row.chunks) for row in rows) == SETUP.max_batch
    chunks = [sum(length for length, _ in row.chunks) for row in rows]
    assert max(chunks) > 900  # four quanta of time would have been 36 ms, less than 700 tokens
    assert max(chunks) <= SETUP.batch_tokens
    assert sum(chunks) == wanted().prompt_tokens.sum()  # with that much room nothing is computed twice


def test_where_pages_run_out_the_newest_is_computed_again() -> None:
    replayed = replay(TRUTH, wanted(), replace(SETUP, kv_tokens=2_000))
    assert sum(length for step in replayed.steps for length, _ in step.row.chunks) > wanted().prompt_tokens.sum()
    first = replayed.run.first_ns
    assert (np.diff(first) >= 0).all()  # nobody passes


def test_coefficients_come_back_from_the_times_of_the_first_half_alone() -> None:
    run = served(TRUTH)
    end_ns = run.end_ns.copy()
    end_ns[40:] = run.arrival_ns[40:] + 1  # whoever looked at the second half would be led astray
    blind = replace(run, end_ns=end_ns, first_ns=np.where(np.arange(80) < 40, run.first_ns, run.arrival_ns + 1))
    found = refit(blind, SETUP, 40)
    assert found.error < 0.02
    assert found.replayed.run.mean_latency_s(slice(40, None)) == pytest.approx(
        run.mean_latency_s(slice(40, None)), rel=0.05
    )


# the command
# --------------------------------------------------------------------------------------------------------
def test_a_true_run_holds_and_is_written_down(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tables / f"other{REQUESTS}", served(TRUTH))  # no tables: its first half is fitted
    out = tables / "figures.json"
    assert main(["bench", "fidelity", "--data", str(tables), "--json", str(out)]) == 0
    text = capsys.readouterr().out
    assert "operator tables" in text
    assert "fitted on 1-40, of 41-80" in text
    assert "missed" not in text
    found = json.loads(out.read_text())["figures"]
    assert [one["measure"] for one in found] == ["mean TTFT", "mean latency"] * 2
    assert all(one["holds"] for one in found)
    assert [one["ratio"] for one in found[:2]] == pytest.approx([1.0, 1.0], abs=0.01)
    assert {one["within"] for one in found} == {0.10, 0.15}


def test_a_run_that_took_longer_than_its_tables_misses_the_bar(
    tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tables / f"{STEM}{REQUESTS}"
    written(path, read_run(path), slower=1.25)
    assert main(["bench", "fidelity", "--data", str(tables)]) == 1
    assert "missed" in capsys.readouterr().out
    assert [round(figure.ratio, 2) for figure in figures(path)] == [0.8, 0.8]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda raw: raw.pop("engine_kwargs"), "engine_kwargs"),
        (lambda raw: raw["engine_kwargs"].update(max_num_seqs=0), "max_num_seqs"),
        (lambda raw: raw["kv_cache"].update(num_gpu_blocks=1), "num_gpu_blocks"),
        (lambda raw: raw["kv_cache"].update(block_size="16"), "block_size"),
    ],
)
def test_bad_flags_of_the_other_server_are_named(
    spoil: Callable[[dict[str, dict[str, object]]], object], says: str, tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tables / f"{STEM}{META}"
    raw = json.loads(path.read_text())
    spoil(raw)
    path.write_text(json.dumps(raw))
    assert main(["bench", "fidelity", "--data", str(tables)]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert path.name in error


def test_a_folder_is_needed_and_must_hold_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SKIPJOIN_BENCH_DATA", raising=False)
    for flags, says in (
        ([], "--data is missing"),
        (["--data", str(tmp_path / "gone")], "no folder"),
        (["--data", str(tmp_path)], REQUESTS),
    ):
        assert main(["bench", "fidelity", *flags]) == 2
        assert says in capsys.readouterr().err


@pytest.mark.data
def test_the_measured_runs_hold() -> None:
    assert main(["bench", "fidelity", "--data", os.environ["SKIPJOIN_BENCH_DATA"]]) == 0
