"""The search finds what a timer says is quickest, stays with the rule where nothing is, and runs
end to end in Triton's interpreter.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from skipjoin.bench.device.kernels.run import found_line
from skipjoin.bench.device.kernels.scenario import FOLDER, TUNED, load_shapes
from skipjoin.bench.device.kernels.tune import (
    TURNS,
    Place,
    Space,
    file_name,
    read_older,
    search,
    size_file,
    tune,
    write_sizes,
)
from skipjoin.bench.machine import device_facts
from skipjoin.cli import main
from skipjoin.core.clock import ManualClock
from skipjoin.core.errors import InvalidSettings
from skipjoin.kernels.compiled.size_file import AttentionSizes, SizeKey, parse_sizes
from skipjoin.kernels.compiled.tuning import sizes_by_rule

RULE = AttentionSizes(16, 64, 512, 4096, 4, 2)
BEST = AttentionSizes(32, 128, 1024, 4096, 8, 3)
SPACE = Space()
CPU = torch.device("cpu")


def distance(sizes):
    """Microseconds that grow with every field that is not the best one's."""
    return 100.0 + 10 * sum(getattr(sizes, field.name) != getattr(BEST, field.name) for field in fields(sizes))


class Asked:
    """A timer that remembers."""

    def __init__(self, us_of):
        self.candidates, self.counted, self._us_of = [], 0, us_of

    def __call__(self, sizes):
        self.candidates.append(sizes)
        return self._us_of(sizes)

    def count(self):
        self.counted += 1


def test_the_quickest_is_found_within_the_bound():
    timer = Asked(distance)
    found = search(RULE, SPACE, timer, timer.count)
    assert (found.sizes, found.us, found.rule_us) == (BEST, 100.0, 150.0)
    assert found.gain == pytest.approx(1 / 3) and found.refused == 0
    assert len(timer.candidates) == timer.counted == found.tried + 2 * TURNS <= SPACE.most()
    assert timer.candidates[-2 * TURNS :] == [RULE, BEST] * TURNS, "in turn, so that a slow minute slows both"


def test_a_candidate_that_does_not_fit_is_passed_over():
    timer = Asked(lambda sizes: None if sizes.keys > 64 else distance(sizes))
    found = search(RULE, SPACE, timer, timer.count)
    assert found.sizes == replace(BEST, keys=64) and found.refused > 0


def test_where_the_rule_does_not_run_another_is_taken():
    timer = Asked(lambda sizes: None if sizes.rows == RULE.rows else distance(sizes))
    found = search(RULE, SPACE, timer, timer.count)
    assert found.sizes == BEST and found.rule_us is None and found.gain is None


def test_a_gain_within_the_noise_is_none():
    timer = Asked(lambda sizes: 100.0 if sizes == RULE else 98.0)
    found = search(RULE, SPACE, timer, timer.count)
    assert found.sizes == RULE and found.gain == 0


def test_nothing_runs():
    timer = Asked(lambda sizes: None)
    assert search(RULE, SPACE, timer, timer.count) is None
    assert timer.counted <= SPACE.most()


def test_every_kind_of_batch_is_tuned_and_told(tmp_path):
    scenario = load_shapes(FOLDER / TUNED)
    place, told = Place(CPU, torch.bfloat16, ManualClock()), []
    seen = []

    def timer_of(sized, case, where):
        seen.append((sized.model.head_dim, case.name, where))
        return (lambda sizes: None) if (case.name, sized.model.head_dim) == ("chunks", 128) else distance

    found = tune(scenario, [64, 128], place, SPACE, lambda key, best: told.append((key, best)), lambda: None, timer_of)
    keys = [SizeKey("half", chunks, head_dim) for head_dim in (64, 128) for chunks in (False, True)]
    assert [key for key, _ in told] == keys and list(found) == keys[:3] and told[3][1] is None
    assert [one[:2] for one in seen] == [(64, "decode"), (64, "chunks"), (128, "decode"), (128, "chunks")]
    assert found[keys[0]].sizes.chunk_split == sizes_by_rule(keys[0]).chunk_split, "decodes alone do not ask for it"
    assert "no candidate runs" in found_line(*told[3]) and "rows 32" in found_line(*told[0])
    here = device_facts(CPU, torch.bfloat16)
    path = tmp_path / "new" / file_name(CPU)
    write_sizes(size_file(found, place, here, read_older(path, CPU)), path)
    # Another kind of numbers later keeps what is there.
    wide = Place(CPU, torch.float32, ManualClock())
    more = tune(scenario, [64], wide, SPACE, lambda key, best: None, lambda: None, lambda *_: distance)
    write_sizes(size_file(more, wide, here, read_older(path, CPU)), path)
    table = parse_sizes(path.read_bytes(), path.name)
    assert table.attention.keys() == {*keys[:3], SizeKey("float32", False, 64), SizeKey("float32", True, 64)}
    assert table.device == "cpu" and torch.__version__ in table.measured_with
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_file_that_is_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "card.toml"
    path.write_text("device = 3")
    with pytest.raises(InvalidSettings, match=r"card\.toml: device: a text is needed.*--out"):
        read_older(path, CPU)
    scenario, place = load_shapes(FOLDER / TUNED), Place(CPU, torch.float32, ManualClock())
    found = tune(scenario, [64], place, SPACE, lambda *_: None, lambda: None, lambda *_: distance)
    table = size_file(found, place, device_facts(CPU, torch.float32), None)
    write_sizes(replace(table, device="Another card"), path)
    with pytest.raises(InvalidSettings, match="holds the sizes of Another card"):
        read_older(path, CPU)
    with pytest.raises(InvalidSettings, match=r"out\.toml cannot be written"):
        write_sizes(table, path / "out.toml")


IN_THE_INTERPRETER = """
import sys, torch
from skipjoin.bench.machine import device_facts
from skipjoin.bench.device.kernels.scenario import load_shapes
from skipjoin.bench.device.kernels.tune import Space
from skipjoin.bench.device.kernels.tune import Place, size_file, tune, write_sizes
from skipjoin.core.clock import MonotonicClock
from pathlib import Path
torch.set_num_threads(1)
place = Place(torch.device("cpu"), torch.float32, MonotonicClock())
space = Space(rows=(16,), keys=(16, 32), decode_split=(16,), chunk_split=(64,), warps=(4,), stages=(1,))
scenario = load_shapes(Path(sys.argv[1]))
if sys.argv[3] == "wrong":
    from skipjoin.bench.device.kernels import tune as module
    module.attend = lambda kv, layer, shape, batch, queries, out, tiles: out.zero_()
found = tune(scenario, [16], place, space, lambda key, best: print(key, best), lambda: None)
if found:
    write_sizes(size_file(found, place, device_facts(place.device, place.dtype), None), Path(sys.argv[2]))
"""
SMALL = """
title = "a test"

[model]
heads = 2
kv_heads = 1
head_dim = 16
hidden = 32
intermediate = 32
vocab_size = 8
layers = 1
page_tokens = 8

[[cases]]
name = "decode"
kernel = "attention"
sequences = [{ count = 2, context = 40 }]

[[cases]]
name = "chunks"
kernel = "attention"
sequences = [{ count = 1, context = 20 }, { count = 1, queries = 5, context = 30 }]
"""


def _interpreted(tmp_path: Path, how: str) -> tuple[Path, str]:
    shapes, out = tmp_path / "small.toml", tmp_path / "cpu.toml"
    shapes.write_text(SMALL)
    done = subprocess.run(
        [sys.executable, "-c", IN_THE_INTERPRETER, str(shapes), str(out), how],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return out, done.stdout


def test_end_to_end_in_the_interpreter(tmp_path: Path) -> None:
    """Times of the interpreter mean nothing; that real launches are checked, timed and written
    does.
    """
    out, _ = _interpreted(tmp_path, "right")
    table = parse_sizes(out.read_bytes(), out.name)
    assert table.attention.keys() == {SizeKey("float32", False, 16), SizeKey("float32", True, 16)}
    for key, sizes in table.attention.items():
        assert table.us[key] > 0
        assert sizes.rows in (16, 32) and sizes.keys in (16, 32) and sizes.stages == 1


def test_what_computes_something_wrong_is_never_chosen(tmp_path: Path) -> None:
    out, said = _interpreted(tmp_path, "wrong")
    assert not out.exists() and said.count("None") == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what a machine without CUDA says")
@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_without_cuda_there_is_nothing_to_tune(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = torch.get_num_threads()
    assert main(["bench", "kernels", "--tune", "--device", device]) == 2
    torch.set_num_threads(before)
    heard = capsys.readouterr()
    assert "a CPU has none. Run it where CUDA is." in heard.err and heard.out == ""
