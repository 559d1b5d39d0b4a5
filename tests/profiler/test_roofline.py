"""The estimate from speeds: what the roof says at both ends, the command with given and with
measured speeds, and what is refused.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from skipjoin.cli import main
from skipjoin.core.errors import InvalidProfile
from skipjoin.cost.profiles import load_profile
from skipjoin.profiler.roofline import Decoder, Speeds, iteration_ns, roofline_profile

LLAMA_8B = Decoder(32, 4096, 32, 8, 128, 14_336, 128_256, 2)
H100 = Speeds(3_000.0, 800.0, 50.0)


def test_the_decoder_counts_the_weights_of_its_model() -> None:
    assert LLAMA_8B.layer_weights + 2 * LLAMA_8B.head_weights == pytest.approx(8.03e9, rel=0.001)
    assert LLAMA_8B.token_bytes == 131_072


def test_one_decode_reads_every_weight_and_a_long_prompt_computes() -> None:
    one = iteration_ns(LLAMA_8B, H100, (), 1, 1)
    assert one == pytest.approx((8.03e9 - LLAMA_8B.head_weights) * 2 / 3_000, rel=0.001)
    context = iteration_ns(LLAMA_8B, H100, (), 1, 100_001) - one
    assert context == pytest.approx(100_000 * 131_072 / 3_000, rel=1e-6)
    prompt = iteration_ns(LLAMA_8B, H100, ((4096, 0),), 0, 0)
    products = LLAMA_8B.layer_weights * 4096 + 2 * 32 * 4096 * 4096 * 4097 / 2
    assert prompt == pytest.approx(2 * products / 800e3 + LLAMA_8B.head_weights * 2 / 3_000, rel=0.001)


def test_the_profile_follows_its_roof() -> None:
    profile = roofline_profile(
        LLAMA_8B, H100, model_name="m", device="d", dtype="bfloat16", kv_tokens=9_000, max_context_tokens=None,
        measured=False
    )  # fmt: skip
    assert profile.fit is not None
    assert profile.fit.mean < 0.15
    assert dict(profile.fit.regions)["decode_small"].mean < 0.10
    assert profile.model.move_ns(1_000) == pytest.approx(131_072_000 / 50)
    assert "as given" in profile.source


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_what_is_no_speed_is_refused(speed: float) -> None:
    with pytest.raises(InvalidProfile) as caught:
        Speeds(1.0, speed)
    assert caught.value.field == "gemm_tflops"


def test_the_command_measures_here_or_takes_what_it_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = tmp_path / "model", tmp_path / "profile.json"
    assert main(["model", "init", str(model), "--preset", "tiny"]) == 0
    common = ["profile", "roofline", "--model", str(model), "--out", str(out)]
    assert main([*common, "--device", "cpu", "--threads", "1", "--kv-tokens", "4096"]) == 0
    here = load_profile(str(out))
    assert (here.device, here.dtype, here.kv_tokens) == ("cpu", "float32", 4096)
    assert "measured here" in here.source
    assert (
        main([*common, "--copy-gb-s", "0.01", "--gemm-tflops", "0.001", "--device", "a slow one", "--dtype", "float16"])
        == 0
    )
    given = load_profile(str(out))
    assert (given.device, given.dtype, given.link_out_gbps) == ("a slow one", "float16", None)
    assert given.model.decode_ns(1, 100) > 10 * here.model.decode_ns(1, 100)
    capsys.readouterr()
    assert main([*common, "--copy-gb-s", "0"]) == 2
    assert "copy-gb-s" in capsys.readouterr().err
    assert main(["profile", "roofline", "--model", str(tmp_path), "--out", str(out)]) == 2
    assert "config.json" in capsys.readouterr().err


def test_a_feed_forward_part_without_a_gate_has_two_matrices():
    """GPT-2 of 124 million: 12 layers of 12 times 768 squared, and 50,257 embeddings."""
    gpt2 = Decoder(12, 768, 12, 12, 64, 3072, 50257, 4, gated=False)
    assert gpt2.layer_weights == 12 * 12 * 768**2
    assert gpt2.layer_weights + gpt2.head_weights == pytest.approx(124e6, rel=0.01)
