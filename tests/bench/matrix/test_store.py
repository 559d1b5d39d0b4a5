"""Results on disk: what a crash tears, what a person breaks, who writes, and which code counts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from skipjoin.bench.matrix.code import code_version, meaning, sources
from skipjoin.bench.matrix.store import FILE, Store, read_results
from skipjoin.core.errors import InvalidInput, Unavailable


def _add(folder: Path, code: str, *loads: float) -> None:
    with Store(folder, code) as store:
        for load in loads:
            store.add({"kind": "some", "key": {"load": load}, "value": load * 10})


def test_what_was_added_is_found_by_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    _add(folder, "a", 0.9, 1.2)
    with Store(folder, "a") as store:
        assert not store.torn
        found = store.find("some", {"load": 0.9})
        assert found is not None and found["value"] == 9.0
        assert store.find("some", {"load": 0.5}) is None
        assert store.find("drain", {"load": 0.9}) is None
        assert len(store.results()) == 2
    assert len((folder / FILE).read_text().splitlines()) == 2


def test_other_code_knows_nothing_of_it(tmp_path: Path) -> None:
    _add(tmp_path, "a", 0.9, 1.2)
    with Store(tmp_path, "b") as store:
        assert store.find("some", {"load": 0.9}) is None
        assert store.results() == []
        store.add({"kind": "some", "key": {"load": 0.9}, "value": 1})
    assert [line["value"] for line in read_results(tmp_path)] == [1]


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_torn_last_line_is_cut_off_and_done_again(tmp_path: Path, cut: int) -> None:
    _add(tmp_path, "a", 0.9, 1.2)
    file = tmp_path / FILE
    whole = file.read_bytes()
    file.write_bytes(whole[:-cut])
    assert [line["key"] for line in read_results(tmp_path)] == [{"load": 0.9}]
    with Store(tmp_path, "a") as store:
        assert store.torn
        assert store.find("some", {"load": 0.9}) is not None
        assert store.find("some", {"load": 1.2}) is None
        store.add({"kind": "some", "key": {"load": 1.2}, "value": 12.0})
    assert file.read_bytes() == whole


@pytest.mark.parametrize(
    "bad", ["nonsense", "[1]", '{"kind":"run","key":3,"code":"a"}', '{"kind":"run"}', "[" * 100_000]
)
def test_a_line_that_is_no_result_is_named(tmp_path: Path, bad: str) -> None:
    _add(tmp_path, "a", 0.9)
    with (tmp_path / FILE).open("a") as stream:
        stream.write(bad + "\n")
    with pytest.raises(InvalidInput, match=r"results\.jsonl, line 2: no result"):
        Store(tmp_path, "a")
    with pytest.raises(InvalidInput, match=r"results\.jsonl, line 2: no result"):
        read_results(tmp_path)


JOB = {"prompt_tokens": 9, "output_tokens": 2, "arrival_s": 0.0, "first_token_s": 0.5, "end_s": 1.0, "runs_s": [[0, 1]]}
RESULT = dict.fromkeys(("mean_jct_s", "p99_jct_s", "mean_normalized_latency_s", "mean_ttft_s", "max_slowdown"), 1.5)
RESULT |= {"requests": 1, "preemptions": 0, "bytes_moved": 0, "mean_tpot_s": None, "output_token_throughput": 2.0}
KEY = {"trace": "a", "seed": 0, "batch": 4, "requests": 1, "warmup": 0, "profile": "p", "inputs": "0"}
WHOLE: list[dict[str, object]] = [
    {"kind": "drain", "key": KEY, "drain_rate_per_s": 1.0},
    {
        "kind": "run",
        "key": {**KEY, "load": 0.9, "policy": "adaptive:0.5"},
        "bounds": {"alone": 1.0, "work": 0.5},
        "result": RESULT,
        "jct_s": [1.5],
    },
    {"kind": "timeline", "key": {"policy": "fcfs"}, "jobs": [JOB]},
    {"kind": "reference", "key": {"name": "a", "source": "b", "points": [[0.8, 1.1]]}},
]


@pytest.mark.parametrize(
    ("number", "change", "field"),
    [
        (1, {"drain_rate_per_s": float("nan")}, "drain_rate_per_s"),
        (1, {"drain_rate_per_s": 10**400}, "drain_rate_per_s"),
        (2, {"jct_s": [1.0, None]}, "jct_s.1"),
        (2, {"jct_s": [0.0]}, "jct_s.0"),
        (2, {"jct_s": []}, "jct_s"),
        (2, {"result": {}}, "result.requests"),
        (2, {"result": RESULT | {"mean_jct_s": "1"}}, "result.mean_jct_s"),
        (2, {"bounds": {"alone": 1}}, "bounds.work"),
        (2, {"bounds": 3}, "bounds"),
        (2, {"key": {"trace": "a"}}, "key.seed"),
        (3, {"jobs": [JOB, {}]}, "jobs.1.prompt_tokens"),
        (3, {"jobs": [JOB | {"runs_s": [[1]]}]}, "jobs.0.runs_s.0"),
        (3, {"key": {"policy": "fcfs:1"}}, "key.policy"),
        (4, {"key": {"name": "a", "source": "b", "points": [1]}}, "key.points.0"),
    ],
)
def test_a_field_that_was_edited_is_named_unless_other_code_wrote_it(
    tmp_path: Path, number: int, change: dict[str, object], field: str
) -> None:
    with Store(tmp_path, "a") as store:
        for line in WHOLE:
            store.add(line)
    assert len(read_results(tmp_path)) == len(WHOLE)
    lines = [{"code": "a"} | line | (change if at == number else {}) for at, line in enumerate(WHOLE, start=1)]
    (tmp_path / FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    with Store(tmp_path, "b") as store:
        assert store.results() == []
    said = rf"results\.jsonl, line {number}: {field} is missing or cannot be"
    with pytest.raises(InvalidInput, match=said):
        Store(tmp_path, "a")
    with pytest.raises(InvalidInput, match=said):
        read_results(tmp_path)


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with Store(tmp_path, "a"), pytest.raises(Unavailable, match="--out"):
        Store(tmp_path, "a")
    with Store(tmp_path, "a"):
        pass


def test_a_folder_that_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot be written"):
        Store(tmp_path / "file", "a")
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_results(tmp_path / "none")
    (tmp_path / FILE).write_text("")
    with pytest.raises(InvalidInput, match="no result yet"):
        read_results(tmp_path)


def test_a_result_done_again_counts_once(tmp_path: Path) -> None:
    _add(tmp_path, "a", 0.9)
    (line,) = read_results(tmp_path)
    with (tmp_path / FILE).open("a") as stream:
        stream.write(json.dumps(line | {"value": 2}) + "\n")
    assert [one["value"] for one in read_results(tmp_path)] == [2]


SOURCE = '"""What it is."""\ndef double(x):\n    """Twice."""\n    return 2 * x  # twice\n'


def test_words_about_code_are_not_code() -> None:
    assert meaning(SOURCE) == meaning("def double(x):\n\n    return 2*x")
    assert meaning(SOURCE) != meaning(SOURCE.replace("2 *", "3 *"))


def test_whatever_a_run_imports_is_in_the_version() -> None:
    words = "import sys, skipjoin.bench.matrix.cell\n"
    words += "print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('skipjoin')))"
    loaded = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True, timeout=60)
    files = {Path(name).resolve() for name in loaded.stdout.split()}
    assert len(files) > 40
    assert {path for path in files if path.name != "__init__.py"} <= {path.resolve() for path in sources()}


def test_the_version_is_of_what_decides(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    real = next(path for path in sources() if path.name == "cell.py").parents[2]
    for path in sources():
        copy = root / path.relative_to(real)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    version = code_version(root)
    assert version == code_version()
    link = root / "sim" / "link.py"
    link.write_text("# a remark\n" + link.read_text())
    assert code_version(root) == version
    link.write_text(link.read_text().replace("max(", "min("))
    assert code_version(root) != version
