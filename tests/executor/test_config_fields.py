"""Every field of config.json is obeyed as in Transformers, refused, or without effect on both: none is ignored in silence.

Each is changed, one at a time, on a small random model of each family, and both are asked for the same logits: those of a prompt, and of greedy
tokens by the cache.
"""

from __future__ import annotations

import json
import random
from collections import Counter

import config_mutations as mutations
import numpy as np
import pytest
import torch
import transformers

from skipjoin.core.errors import InvalidModel
from skipjoin.executor.config import load_config
from skipjoin.executor.decoder import Decoder, ForwardBatch
from skipjoin.executor.loading import load_model
from skipjoin.kernels.dispatch import kernels_for
from skipjoin.kernels.layout import KvLayout, PagedKv
from skipjoin.kernels.ragged import RaggedBatch

NEW_TOKENS = 3
_PROMPT = [random.Random(8).randrange(3, mutations.VOCABULARY) for _ in range(mutations.PROMPT)]


@pytest.fixture(scope="module", params=mutations.SHAPES)
def family(request, tmp_path_factory):
    """(model type, folder, its config.json as Transformers wrote it)."""
    folder = tmp_path_factory.mktemp(request.param)
    mutations.make_folder(request.param, folder)
    return request.param, folder, json.loads((folder / "config.json").read_text())


@pytest.fixture(autouse=True)
def quiet():
    """Transformers warns of most of what is tried here."""
    transformers.utils.logging.disable_progress_bar()
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    yield
    transformers.logging.set_verbosity(level)


@torch.inference_mode()
def our_logits(folder, tokens):
    """A chunk, then the rest over its pages."""
    model = load_model(folder, "cpu", "float32")
    config, page_tokens = model.config, 8
    layout = KvLayout(config.layers, config.kv_heads, page_tokens, config.head_dim)
    pages = np.arange(-(-len(tokens) // page_tokens))
    kv = PagedKv(torch.zeros(layout.pool_shape(len(pages))), layout)
    kernels = kernels_for(model.device, model.dtype)
    decoder = Decoder(model, kv, kernels, recorded=False)
    logits, start = [], 0
    for end in (len(tokens) // 2, len(tokens)):
        positions = np.arange(start, end)
        ragged = RaggedBatch(
            torch.from_numpy(pages[None, : -(-end // page_tokens)]), np.array([0, end - start]), np.array([end])
        )
        batch = ForwardBatch(
            torch.tensor(tokens[start:end]),
            torch.from_numpy(positions),
            end,
            kernels.prepare(kv, ragged, torch.from_numpy(positions)),
            None,
        )
        logits.append(decoder.forward(batch))
        start = end
    return torch.cat(logits)


def compare(folder):
    """ "same", "refused", "no answer" of Transformers, or what is wrong with our reading of the folder."""
    try:
        limit = load_config(folder).max_context_tokens
        prompt = _PROMPT[: limit - NEW_TOKENS]
        load_model(folder)
    except InvalidModel as refused:
        return "refused" if refused.field else f"refused without a field: {refused.message}"
    theirs = mutations.answer_of_transformers(folder, prompt, NEW_TOKENS)
    if theirs is None:
        return "no answer"
    logits, made = theirs
    ours = our_logits(folder, prompt + made[:-1])
    furthest = float((ours - logits).abs().max() / logits.abs().max())
    return "same" if furthest <= 1e-3 else f"logits differ by {furthest:.2g}"


class Sweep:
    """Changes to one folder, and what came of them."""

    def __init__(self, family):
        self.model_type, self.folder, self.raw = family
        self.wrong = {}
        self.seen = Counter()
        mutations.write(self.folder, self.raw, {})
        self.plain = load_config(self.folder)

    def run(self, names, count):
        """Change each field to its first `count` values; the fields that we leave unread all at once."""
        together = {}
        for name in names:
            for value in mutations.values_for(self.model_type, name)[:count]:
                if self.raw.get(name, ...) == value:
                    continue
                if value is not ... and name not in together and self.unread({name: value}):
                    together[name] = value
                else:
                    self.judge({name: value})
        self.judge(together)
        mutations.write(self.folder, self.raw, {})

    def unread(self, changes):
        """Whether we serve the same model with the changes."""
        mutations.write(self.folder, self.raw, changes)
        try:
            return load_config(self.folder) == self.plain
        except InvalidModel:
            return False

    def judge(self, changes):
        """One by one only where they are not harmless together."""
        mutations.write(self.folder, self.raw, changes)
        said = compare(self.folder)
        if said != "same" and len(changes) > 1:
            each = list(changes.items())
            self.judge(dict(each[: len(each) // 2]))
            self.judge(dict(each[len(each) // 2 :]))
            return
        self.seen[said] += len(changes)
        if said not in ("same", "refused", "no answer"):
            self.wrong[str(changes)] = said


def test_each_field_is_obeyed_or_refused(family):
    sweep = Sweep(family)
    assert compare(sweep.folder) == "same"
    sweep.run(mutations.every_field(), 1)
    assert not sweep.wrong
    assert sweep.seen["same"] > 50 and sweep.seen["refused"] > 10, "most fields change nothing, some another model"


@pytest.mark.soak
def test_each_field_with_every_value(family):
    sweep = Sweep(family)
    sweep.run(mutations.every_field(), 99)
    assert not sweep.wrong
