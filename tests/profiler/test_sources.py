"""Published measurements become profiles: the numbers that the files hold, the format told from
them, and every malformed one refused by place.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from published import (
    LAYERS,
    STEM,
    attention_us,
    dense_ms,
    write_coefficients,
    write_layers,
    write_skew,
    write_sweeps,
    write_tables,
)

from skipjoin.cli import main
from skipjoin.core.errors import InvalidProfile
from skipjoin.cost.profiles import load_profile
from skipjoin.profiler.sources.detect import FORMATS, read_source
from skipjoin.profiler.sources.reading import Wish

ROOM = Wish(kv_tokens=60_000)


# the numbers
# --------------------------------------------------------------------------------------------------------
def test_coefficients_are_the_published_ones(tmp_path: Path) -> None:
    profile = read_source(str(write_coefficients(tmp_path)), Wish(model="opt-13b"))
    model = profile.model
    assert (model.fixed_ns, model.prefill_token_ns, model.prefill_pair_ns) == pytest.approx((20e6, 0.1e6, 7.0))
    assert (model.decode_context_ns, model.decode_job_ns) == pytest.approx((600.0, 0.04e6))
    assert (profile.model_name, profile.tensor_parallel, profile.kv_tokens) == ("facebook/opt-13b", 1, 5000)
    assert (profile.token_bytes, profile.device) == (819_200, "NVIDIA A100 80GB")
    assert profile.fit is not None
    regions = dict(profile.fit.regions)
    assert regions["decode_small"].worst < 1e-6  # that line is the formula's own
    assert regions["prefill_short"].mean > regions["prefill_long"].mean > 0.001  # 18 ms there, 20 ms here
    # 256 members of 64 tokens by the line above the threshold, 7 + 9.8304 + 0.16 * 256, against 20
    # + 9.8304 + 0.04 * 256
    assert regions["decode_large"].worst == pytest.approx((7 + 40.96 - 20 - 10.24) / (7 + 9.8304 + 40.96), rel=1e-3)
    assert "mixed" not in regions


def test_a_degree_is_chosen(tmp_path: Path) -> None:
    profile = read_source(str(write_coefficients(tmp_path)), Wish(model="facebook/opt-13b", tensor_parallel=2))
    assert (profile.model.fixed_ns, profile.kv_tokens, profile.tensor_parallel) == (12e6, 9000, 2)


def test_operator_tables_add_up_to_iterations(tmp_path: Path) -> None:
    write_tables(tmp_path)
    profile = read_source(str(tmp_path / f"{STEM}_tp1"), Wish(kv_tokens=60_000, link_gbps=20.0))
    cost = profile.cost
    tails_ms = 2 * (100 + 32) / 1e3
    attention_ms = LAYERS * attention_us(0, 0, 32, 256) / 1e3
    assert cost.decode_ns(32, 32 * 256) / 1e6 == pytest.approx(dense_ms(32) + tails_ms + attention_ms, rel=1e-6)
    mixed_ms = LAYERS * attention_us(256, 256, 16, 1024) / 1e3
    wanted = dense_ms(272) + 2 * (100 + 17) / 1e3 + mixed_ms
    assert cost.iteration_ns(((256, 256),), 16, 16 * 1024) / 1e6 == pytest.approx(wanted, rel=1e-3)
    assert cost.move_ns(10) == round(10 * 131_072 / 20)
    assert (profile.model_name, profile.device, profile.tensor_parallel) == (
        "llama-3.1-8b",
        "NVIDIA GeForce RTX 4090",
        1,
    )
    assert profile.tables is not None
    assert profile.tables.fit is not None
    assert profile.tables.fit.mean < 0.01 < profile.fit.mean  # type: ignore[union-attr]
    assert {name for name, _ in profile.tables.fit.regions} == {
        "prefill_short", "prefill_long", "decode_small", "decode_large", "mixed"
    }  # fmt: skip


def test_unequal_contexts_cost_their_factor(tmp_path: Path) -> None:
    write_tables(tmp_path)
    plain = read_source(str(tmp_path), ROOM).cost
    write_skew(tmp_path, 1.5)
    uneven = read_source(str(tmp_path), ROOM).cost
    attention_ns = LAYERS * attention_us(0, 0, 32, 1024) * 1e3
    assert uneven.decode_ns(32, 32 * 1024) - plain.decode_ns(32, 32 * 1024) == pytest.approx(attention_ns / 2, abs=2)
    assert uneven.decode_ns(1, 1024) == plain.decode_ns(1, 1024)  # one context is equal to itself
    assert uneven.prompt_ns(512) == plain.prompt_ns(512)


def test_layers_without_attention_over_contexts_are_estimated_and_say_so(tmp_path: Path) -> None:
    write_layers(tmp_path)
    profile = read_source(str(tmp_path), ROOM)
    once_ns, each_ns = 2 * 2000, 32 * 11 * (20_000 + 100 * 512)
    attention_ns = 32 * (5000 + 512 * 512 / 100)
    assert profile.cost.prompt_ns(512) == pytest.approx(once_ns + each_ns + attention_ns + 300_001, rel=1e-3)
    byte_ns = (once_ns + 32 * 11 * 20_100 + 300_001) / (2 * 8.03e9)
    slope = (profile.cost.decode_ns(8, 8 * 4096) - profile.cost.decode_ns(8, 8 * 1024)) / (8 * 3072)
    assert slope == pytest.approx(byte_ns * 131_072, rel=1e-3)
    assert "estimated" in profile.source
    assert profile.tables is not None
    assert profile.tables.fit is None  # nothing to compare with


def test_sweeps_add_up_and_more_ranks_pay_collectives(tmp_path: Path) -> None:
    write_sweeps(tmp_path)
    one = read_source(str(tmp_path), ROOM)
    layer_ms = 9 * (0.05 + 1e-4 * 8)
    wanted_ms = 32 * (layer_ms + 0.004 + 1e-6 * 8 * 256) + 0.05 + 1e-4 * 8
    assert one.cost.decode_ns(8, 8 * 256) / 1e6 == pytest.approx(wanted_ms, rel=1e-6)
    two = read_source(str(tmp_path), Wish(kv_tokens=60_000, tensor_parallel=2))
    reduce_ms = 2 * (0.02 + 8 * 4096 * 2 / 1e8)
    wanted_ms = 32 * (layer_ms / 2 + reduce_ms + 0.004 + 1e-6 * 8 * 256) + (0.05 + 1e-4 * 8) / 2
    assert two.cost.decode_ns(8, 8 * 256) / 1e6 == pytest.approx(wanted_ms, rel=1e-3)


def test_the_default_degree_is_the_smallest_of_operators_and_attention(tmp_path: Path) -> None:
    write_sweeps(tmp_path)
    assert read_source(str(tmp_path), ROOM).tensor_parallel == 1
    attention = tmp_path / SWEEP
    head, *rows = attention.read_text().splitlines()
    two = [row for row in rows if row.split(",")[4] == "2"]
    assert 0 < len(two) < len(rows)
    attention.write_text("\n".join([head, *two]) + "\n")
    assert read_source(str(tmp_path), ROOM).tensor_parallel == 2
    attention.write_text("\n".join([head, *(",".join((*row.split(",")[:4], "3", *row.split(",")[5:])) for row in two)]))
    with pytest.raises(InvalidProfile, match="in common") as caught:
        read_source(str(tmp_path), ROOM)
    assert caught.value.field == "tensor_parallel"


# detection and command
# ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("write", "form", "flags"),
    [
        (write_coefficients, "distserve", ["--model", "opt-13b", "--tp", "2"]),
        (write_tables, "llmservingsim", ["--kv-tokens", "60000", "--link-gb-s", "20"]),
        (write_layers, "llmservingsim-layers", ["--kv-tokens", "60000"]),
        (write_sweeps, "vidur", ["--kv-tokens", "60000", "--tp", "2"]),
    ],
)
def test_import_detects_writes_and_show_tells_errors_by_region(
    write: Callable[[Path], object], form: str, flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out, told = tmp_path / "source", tmp_path / "profile.json", tmp_path / "told.json"
    source.mkdir()
    write(source)
    assert main(["profile", "import", str(source), "--out", str(out), *flags]) == 0
    assert main(["profile", "import", str(source), "--out", str(told), "--format", form, *flags]) == 0
    assert out.read_bytes() == told.read_bytes()
    capsys.readouterr()
    assert main(["profile", "show", str(out)]) == 0
    text = capsys.readouterr().out
    assert "prefill short" in text
    assert "decode large" in text
    assert ("tables" in text) == (form != "distserve")
    profile = load_profile(str(out))
    assert profile.cost.decode_ns(8, 8_000) > profile.cost.decode_ns(8, 800) > 1_000
    assert list(tmp_path.glob("*.partial")) == []


def test_every_format_has_been_tried() -> None:
    assert set(FORMATS) == {"distserve", "llmservingsim", "llmservingsim-layers", "vidur"}


def test_files_of_no_format_are_refused_and_so_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InvalidProfile, match="known format") as caught:
        read_source(str(tmp_path), Wish())
    assert caught.value.field == "format"
    with pytest.raises(InvalidProfile, match="no file, no folder"):
        read_source(str(tmp_path / "gone"), Wish())


# malformed
# ----------------------------------------------------------------------------------------------------------
def replaced(file: str, old: str, new: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return spoil


DENSE, ATTENTION = f"{STEM}_tp1_dense.csv", f"{STEM}_tp1_attention.csv"
COEFFICIENTS, OPT = "profiler-a100-80g.json", Wish(model="opt-13b")
SWEEP, OPERATORS = "a100_attention.csv", "a100_mlp_Meta-Llama-3-8B.csv"


@pytest.mark.parametrize(
    ("write", "spoil", "wish", "says", "field"),
    [
        (write_tables, replaced(DENSE, "embedding,2,2.02", "embedding,2,nan"), ROOM, f"{DENSE}, line 3, column time_us",
         "time_us"),
        (write_tables, replaced(DENSE, "embedding,2,2.02", "embedding,2,-1"), ROOM, "line 3", "time_us"),
        (write_tables, replaced(DENSE, "embedding,2,2.02", "embedding,two,2"), ROOM, "no number", "tokens"),
        (write_tables, replaced(DENSE, "embedding,2,2.02", "embedding,1,2.02"), ROOM, "twice", "tokens"),
        (write_tables, replaced(DENSE, "embedding,2,2.02", "moe_gate,2,2.02"), ROOM, "no operator", "layer"),
        (write_tables, replaced(DENSE, "embedding,2,2.02", "embedding,2"), ROOM, "2 values under 3 columns", "source"),
        (write_tables, replaced(DENSE, "embedding,2,2.02", '"embedding"x,2,2.02'), ROOM, f"{DENSE}, line 3: no CSV",
         "source"),
        (write_tables, replaced(ATTENTION, "0,0,1,16,", "0,0,0,0,"), ROOM, "without chunk", "n_decode"),
        (write_tables, replaced(ATTENTION, "0,0,1,64,", "0,0,1,16,"), ROOM, "twice", "prefill_chunk"),
        (write_tables, replaced(ATTENTION, "n_decode", "decodes"), ROOM, "no attention table", "source"),
        (write_tables, lambda _: None, Wish(), "--kv-tokens", "kv_tokens"),
        (write_tables, lambda _: None, Wish(kv_tokens=9, model="opt-13b"), "not about opt-13b", "model"),
        (write_tables, lambda _: None, Wish(kv_tokens=9, tensor_parallel=2), "parallel 1, not 2", "tensor_parallel"),
        (write_tables, lambda folder: write_tables(folder, "H100_llama31-8b_tp1"), ROOM, "2 of dense table", "source"),
        (write_coefficients, replaced(COEFFICIENTS, "[18.0, 0.1, 7e-06]", "[18.0, NaN, 7e-06]"), OPT, "three finite",
         "facebook/opt-13b.1.prefill"),
        (write_coefficients, replaced(COEFFICIENTS, "[18.0, 0.1, 7e-06]", "[18.0, 0.1]"), OPT, "three finite",
         "facebook/opt-13b.1.prefill"),
        (write_coefficients, replaced(COEFFICIENTS, '"1": {', '"1": ['), OPT, "profiler-a100-80g.json, line 1",
         "source"),
        (write_coefficients, lambda _: None, Wish(), "several models", "model"),
        (write_coefficients, lambda _: None, Wish(model="opt-175b"), "no model opt-175b", "model"),
        (write_coefficients, lambda _: None, Wish(model="opt-13b", tensor_parallel=8), "no tensor parallel 8",
         "tensor_parallel"),
        (write_coefficients, lambda _: None, Wish(model="opt-66b"), "give --kv-tokens", "kv_tokens"),
        (write_coefficients, replaced("max_num_tokens.csv", "5000", "many"), Wish(model="opt-13b"),
         "max_num_tokens.csv, line 2", "max_num_tokens"),
        (write_layers, replaced("h100_llama31-8b_tp1_layers.csv", "attn,1,", "mla,1,"), ROOM, "no layer", "layer_name"),
        (write_layers, lambda _: None, Wish(kv_tokens=9, tensor_parallel=4), "tensor parallel 4", "tensor_parallel"),
        (write_sweeps, lambda folder: write_sweeps(folder, kv_heads=4), ROOM, f"{SWEEP}, line 2, column n_embd",
         "n_embd"),
        (write_sweeps, replaced(SWEEP, "True", "maybe"), ROOM, "neither", "is_prefill"),
        (write_sweeps, replaced(OPERATORS, "n_kv_head", "heads"), ROOM, "no table of operators", "source"),
        (write_sweeps, lambda folder: (folder / SWEEP).unlink(), ROOM, "no sweep of attention", "source"),
        (write_sweeps, lambda _: None, Wish(kv_tokens=9, model="phi-2"), "no model phi-2", "model"),
        (write_sweeps, lambda folder: (folder / OPERATORS).unlink(), Wish(kv_tokens=9, model="phi-2"),
         "no table of operators", "source"),
        (write_sweeps, lambda _: None, Wish(kv_tokens=9, tensor_parallel=3), "tensor parallel 3", "tensor_parallel"),
    ],
)  # fmt: skip
def test_malformed_sources_are_refused_by_place(
    write: Callable[[Path], object], spoil: Callable[[Path], object], wish: Wish, says: str, field: str, tmp_path: Path
) -> None:
    write(tmp_path)
    spoil(tmp_path)
    with pytest.raises(InvalidProfile) as caught:
        read_source(str(tmp_path), wish)
    assert says in str(caught.value)
    assert caught.value.field == field


def test_a_format_that_the_source_has_not_is_told_whichever_model_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InvalidProfile, match="no table of operators"):
        read_source(str(write_coefficients(tmp_path)), Wish(model="opt-13b"), "vidur")


def test_a_device_is_not_replaced_by_a_profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(write_coefficients(tmp_path))
    assert main(["profile", "import", source, "--out", os.devnull, "--model", "opt-13b"]) == 2
    assert "would take its place" in capsys.readouterr().err
    assert not Path(os.devnull).is_file()


def test_bad_flags_are_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(write_coefficients(tmp_path))
    out = str(tmp_path / "out.json")
    for flags in (["--tp", "0"], ["--kv-tokens", "0"], ["--link-gb-s", "nan"], ["--out", str(tmp_path)]):
        assert main(["profile", "import", source, "--out", out, "--model", "opt-13b", *flags]) == 2
        assert flags[0].lstrip("-") in capsys.readouterr().err


# the data itself
# ----------------------------------------------------------------------------------------------------
@pytest.mark.data
def test_the_published_files_are_read(tmp_path: Path) -> None:
    folder = Path(os.environ["SKIPJOIN_BENCH_DATA"]) / "gpu_profiles"
    opt = read_source(str(folder / "distserve" / "profiler-a100-80g.distserve.json"), Wish(model="opt-13b"))
    shipped = load_profile("opt-13b-a100")
    assert opt.kv_tokens == shipped.kv_tokens
    assert opt.model.fixed_ns == pytest.approx(shipped.model.fixed_ns, rel=1e-3)
    rtx = read_source(str(folder / "llmservingsim" / "RTX4090_llama31-8b_tp1"), ROOM)
    assert rtx.tables is not None
    assert rtx.tables.fit is not None
    assert rtx.tables.fit.mean < 0.03
    assert read_source(str(folder / "llmservingsim" / "h100_llama31-70b"), ROOM).tensor_parallel == 4
    assert read_source(str(folder / "llmservingsim" / "h100_llama31-8b"), ROOM).model_name == "llama-3.1-8b"
    vidur = read_source(str(folder / "vidur" / "a100_"), Wish(model="llama-2-70b", tensor_parallel=2, kv_tokens=60_000))
    assert 20e6 < vidur.cost.decode_ns(1, 16) < 100e6
