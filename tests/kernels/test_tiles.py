"""A cut covers every key that a row may see once, whatever the batch, and depends on a sequence's
own positions alone.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from skipjoin.kernels.bring import brings_to
from skipjoin.kernels.compiled.tiles import cut
from skipjoin.kernels.compiled.tuning import AttentionSizes, attention_sizes, power_of_two
from skipjoin.kernels.ragged import RaggedBatch

CPU = torch.device("cpu")

sequences = st.lists(st.integers(1, 60).flatmap(lambda c: st.tuples(st.just(c), st.integers(0, c))), max_size=6)
sizes_of = st.builds(
    AttentionSizes, st.sampled_from([16, 32]), st.just(16), st.sampled_from([1, 7, 16]), st.sampled_from([5, 64]),
    st.just(4), st.just(1)
)  # fmt: skip


def batch_of(members):
    starts = np.concatenate([[0], np.cumsum([count for _, count in members])]).astype(np.int64)
    return RaggedBatch(
        torch.zeros(len(members), 1), starts, np.array([context for context, _ in members], dtype=np.int64)
    )


@given(sequences, st.integers(1, 16), st.sampled_from([None, 1, 6, 100]), sizes_of)
def test_every_key_of_every_row_is_seen_once(members, group, window, sizes):
    batch = batch_of(members)
    tiles = cut(batch, group, window, sizes, brings_to(CPU))
    seen = Counter()
    slots = []
    for sequence, row, rows, position, first, end, slot, _ in tiles.items.tolist():
        assert 0 < rows * group <= sizes.rows and first < end
        assert window is None or first > position - window, "a key that no row sees"
        slots += [slot] if slot >= 0 else []
        for i in range(rows):
            low = 0 if window is None else max(0, position + i - window + 1)
            assert low <= position + i < members[sequence][0]
            seen.update((row + i, key) for key in range(max(first, low), min(end, position + i + 1)))
    expected = set()
    for i, (context, count) in enumerate(members):
        for query in range(count):
            at = context - count + query
            low = 0 if window is None else max(0, at - window + 1)
            expected.update((int(batch.starts[i]) + query, key) for key in range(low, at + 1))
    assert set(seen) == expected and set(seen.values()) <= {1}
    merged = [slot for _, _, first, parts in tiles.merges.tolist() for slot in range(first, first + parts)]
    assert slots == merged == list(range(tiles.slots))


@given(sequences, sizes_of)
def test_a_sequence_is_cut_alike_alone_and_in_company(members, sizes):
    together = cut(batch_of(members), 2, None, sizes, brings_to(CPU)).items.tolist()
    for i, member in enumerate(members):
        alone = cut(batch_of([member]), 2, None, sizes, brings_to(CPU)).items.tolist()
        assert [item[2:6] for item in alone] == [item[2:6] for item in together if item[0] == i]


def test_sizes_have_room_for_a_group():
    for group in (1, 5, 16, 71):
        for dtype in (torch.float32, torch.bfloat16):
            for chunks in (False, True):
                sizes = attention_sizes(CPU, dtype, group, 80, chunks)
                assert sizes.rows >= group and sizes.rows == power_of_two(sizes.rows)
    assert (
        attention_sizes(CPU, torch.bfloat16, 4, 64, False).rows < attention_sizes(CPU, torch.bfloat16, 4, 64, True).rows
    )
