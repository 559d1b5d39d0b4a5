"""Whatever decodes an iteration has, its standing form cuts them as they are, and everything else
in it does nothing.
"""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from skipjoin.kernels.bring import brings_to
from skipjoin.kernels.compiled import tuning
from skipjoin.kernels.compiled.iteration import CompiledBatch
from skipjoin.kernels.compiled.standing import CompiledStanding
from skipjoin.kernels.compiled.tiles import cut
from skipjoin.kernels.layout import KvLayout, PagedKv
from skipjoin.kernels.ragged import RaggedBatch
from skipjoin.kernels.ragged_attention import AttentionShape

PAGES, PAGE_TOKENS, ROWS = 1100, 16, 12
SHAPES = (AttentionShape(4, 1.0), AttentionShape(4, 2.0, window=700), AttentionShape(4, 1.0, window=1))
SPLIT = tuning.attention_sizes(torch.device("cpu"), torch.float32, 2, 16, False).decode_split


def standing(shapes=SHAPES, pages=PAGES, width=600):
    layout = KvLayout(1, 2, PAGE_TOKENS, 16)
    return CompiledStanding(PagedKv(torch.zeros(layout.pool_shape(pages)), layout), shapes, ROWS, width)


def decodes(contexts, counts=None):
    contexts = np.array(contexts, dtype=np.int64)
    counts = np.ones_like(contexts) if counts is None else np.array(counts)
    width = int(-(-contexts.max() // PAGE_TOKENS))
    tables = torch.randint(0, PAGES, (len(contexts), width))
    ragged = RaggedBatch(tables, np.concatenate([[0], np.cumsum(counts)]), contexts)
    return CompiledBatch(ragged, torch.randint(0, PAGES * PAGE_TOKENS, (int(counts.sum()),)))


def does_nothing(item):
    _, _, rows, _, first, end, slot, _ = item
    return rows == 0 and first >= end and slot == -1


def check(kept, batch, rows):
    level = kept.fill(batch, rows)
    assert level is not None
    view, count = kept.view(rows, level), len(batch.ragged.contexts)
    assert view.ragged.rows == rows and torch.equal(view.slots[:count], batch.slots)
    assert (view.slots[count:] == -1).all()
    assert torch.equal(view.ragged.tables[:count, : batch.ragged.tables.shape[1]], batch.ragged.tables)
    tight = level == 0
    for (heads, window), tiles in view.tiles.items():
        wanted = cut(batch.ragged, heads // 2, window, tiles.sizes, brings_to(torch.device("cpu")))
        there = len(wanted.items)
        assert torch.equal(tiles.items[:there], wanted.items) and wanted.slots <= tiles.slots
        assert all(does_nothing(item) for item in tiles.items[there:].tolist())
        merges = len(wanted.merges)
        assert torch.equal(tiles.merges[:merges], wanted.merges) and not tiles.merges[merges:].any()
        if level:
            below = kept.view(rows, level - 1).tiles[heads, window]
            tight |= there > len(below.items) or (merges > 0 and not len(below.merges))
    assert tight, "a lower level had room"
    return level


@given(st.data())
def test_a_standing_batch_is_the_batch_and_nothing_else(data):
    """Twice on the same buffers: what the first left behind must not show in the second."""
    kept = standing()
    for _ in range(2):
        count = data.draw(st.integers(1, ROWS))
        fair = PAGES * PAGE_TOKENS // count
        contexts = st.integers(1, min(fair, 600 * PAGE_TOKENS))
        batch = decodes(data.draw(st.lists(contexts, min_size=count, max_size=count)))
        check(kept, batch, data.draw(st.integers(count, ROWS)))


def test_before_anything_was_filled_in_nothing_is_done():
    kept = standing()
    for rows in (1, 5, ROWS):
        assert kept.levels(rows) > 1
        for level in range(kept.levels(rows)):
            view = kept.view(rows, level)
            assert (view.slots == -1).all() and len(view.slots) == rows
            for tiles in view.tiles.values():
                assert len(tiles.items) >= rows and all(does_nothing(item) for item in tiles.items.tolist())
                assert not tiles.merges.any() and len(tiles.merges) in (0, rows)


def test_the_highest_level_has_room_for_all_that_the_pool_holds():
    kept = standing()
    full = [600 * PAGE_TOKENS, (PAGES - 600 - (ROWS - 2)) * PAGE_TOKENS, *[1] * (ROWS - 2)]
    assert check(kept, decodes(full), ROWS) == kept.levels(ROWS) - 1
    assert check(kept, decodes([600 * PAGE_TOKENS]), 1) == kept.levels(1) - 1
    assert check(kept, decodes([1] * ROWS), ROWS) == 0


def test_where_no_context_is_cut_there_is_one_level():
    assert standing((AttentionShape(4, 1.0, window=1),)).levels(ROWS) == 1
    assert standing(pages=SPLIT // PAGE_TOKENS - 1, width=SPLIT // PAGE_TOKENS - 1).levels(ROWS) == 1


def test_what_does_not_fit_leaves_no_trace():
    kept = standing()
    check(kept, decodes([SPLIT + 3, 7]), 4)
    before = [kept.view(4, 1).slots.clone(), kept.view(4, 1).ragged.tables.clone()]
    for batch, rows in (
        (decodes([40, 9], [1, 3]), 4),
        (decodes([5] * 5), 4),
        (decodes([601 * PAGE_TOKENS]), 4),
        (decodes([600 * PAGE_TOKENS] * 4), 4),
    ):
        assert kept.fill(batch, rows) is None
    assert torch.equal(kept.view(4, 1).slots, before[0]) and torch.equal(kept.view(4, 1).ragged.tables, before[1])
