"""Files of measured sizes: what is written is read back, what is wrong is named, and what was
measured is preferred to the rule.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skipjoin.kernels.compiled import tuning
from skipjoin.kernels.compiled.size_file import (
    KINDS,
    AttentionSizes,
    BadSizes,
    SizeFile,
    SizeKey,
    parse_sizes,
    render_sizes,
)

CPU = torch.device("cpu")
FINE = """
device = "A card"
measured_with = "torch 2.13"

[[attention]]
kind = "half"
chunks = false
head_dim = 128
rows = 16
keys = 64
decode_split = 512
chunk_split = 4096
warps = 4
stages = 2
us = 12.5
"""

powers = st.sampled_from([16, 32, 64, 128])
sizes_of = st.builds(
    AttentionSizes,
    powers,
    powers,
    st.integers(16, 1 << 20),
    st.integers(16, 1 << 20),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(1, 8),
)
keys_of = st.builds(SizeKey, st.sampled_from(KINDS), st.booleans(), powers)


@given(st.dictionaries(keys_of, sizes_of, min_size=1), st.text(min_size=1, alphabet='NVIDIA "H100"\\ \n\t[]ä'))
def test_what_is_written_is_read_back(attention, device):
    name = "x" + device
    table = SizeFile(name, "torch 2.13, triton 3.9", attention, dict.fromkeys(attention, 12.5))
    again = parse_sizes(render_sizes(table).encode(), "card.toml")
    assert again.attention == attention and again.us == table.us
    assert again.device == "".join(char for char in name if char.isprintable())


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('device = "A card"', "", "device"),
        ('device = "A card"', 'device = " "', "device"),
        ('device = "A card"', 'device = "A card"\nextra = 1', "extra"),
        ("[[attention]]", "[attention]", "attention"),
        ("rows = 16", "rows = 17", "attention 1, rows"),
        ("rows = 16", "rows = 8", "attention 1, rows"),
        ("rows = 16", "rows = true", "attention 1, rows"),
        ("keys = 64", "keys = 512", "attention 1, keys"),
        ("warps = 4", "warps = 3", "attention 1, warps"),
        ("stages = 2", "stages = 0", "attention 1, stages"),
        ("decode_split = 512", "decode_split = 0.5", "attention 1, decode_split"),
        ("chunk_split = 4096", "", "attention 1, chunk_split"),
        ('kind = "half"', 'kind = "int4"', "attention 1, kind"),
        ("chunks = false", "chunks = 0", "attention 1, chunks"),
        ("us = 12.5", "us = nan", "attention 1, us"),
        ("us = 12.5", "us = 12.5\nblock = 3", "attention 1, block"),
        ("us = 12.5", "us = 12.5" + FINE[FINE.index("[[") - 1 :], "attention 2"),
        ("kind =", "kind", "file"),
    ],
)
def test_what_is_wrong_is_named(old, new, key):
    assert FINE.count(old) == 1
    parse_sizes(FINE.encode(), "card.toml")
    with pytest.raises(BadSizes) as caught:
        parse_sizes(FINE.replace(old, new).encode(), "card.toml")
    assert (caught.value.file, caught.value.key) == ("card.toml", key)
    assert str(caught.value).startswith(f"card.toml: {key}: ")


@pytest.mark.parametrize("data", [b"\xff\xfe", b"x" * (1 << 21)])
def test_a_file_that_is_something_else(data):
    with pytest.raises(BadSizes, match=r"card.toml: file: "):
        parse_sizes(data, "card.toml")


def test_measured_sizes_are_preferred_for_their_device_and_kind_alone(monkeypatch):
    monkeypatch.setattr(tuning, "_own", {})
    rule = tuning.attention_sizes(CPU, torch.bfloat16, 4, 100, False)
    table = parse_sizes(FINE.replace("A card", "cpu").replace("keys = 64", "keys = 128").encode(), "card.toml")
    tuning.use_sizes(table)
    chosen = tuning.attention_sizes(CPU, torch.float16, 4, 100, False)
    assert chosen == table.attention[SizeKey("half", False, 128)] != rule
    assert tuning.attention_sizes(CPU, torch.bfloat16, 33, 128, False).rows == 64, "room for a group comes first"
    for other in ((torch.float32, 128, False), (torch.bfloat16, 64, False), (torch.bfloat16, 128, True)):
        assert tuning.attention_sizes(CPU, other[0], 4, *other[1:]) == tuning.sizes_by_rule(tuning.size_key(*other))


def test_what_ships_can_be_read():
    assert all(device and attention for device, attention in tuning.shipped_sizes().items())
