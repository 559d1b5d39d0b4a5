"""Every field of config.json is obeyed as in Transformers, refused, or without effect on both: none
is ignored in silence.

Each is changed, one at a time, on a small random model of each family, and both are asked for the
same logits: those of a prompt, and of greedy tokens by the cache.
"""

from __future__ import annotations

import json
from collections import Counter

import config_mutations as mutations
import pytest
from folder_answers import compare

from skipjoin.core.errors import InvalidModel
from skipjoin.model.config import load_config

pytestmark = pytest.mark.usefixtures("quiet_transformers")


@pytest.fixture(scope="module", params=mutations.SHAPES)
def family(request, tmp_path_factory):
    """(model type, folder, its config.json as Transformers wrote it)."""
    folder = tmp_path_factory.mktemp(request.param)
    mutations.make_folder(request.param, folder)
    return request.param, folder, json.loads((folder / "config.json").read_text())


class Sweep:
    """Changes to one folder, and what came of them."""

    def __init__(self, family):
        self.model_type, self.folder, self.raw = family
        self.wrong = {}
        self.seen = Counter()
        mutations.write(self.folder, self.raw, {})
        self.plain = load_config(self.folder)

    def run(self, names, count):
        """Change each field to its first `count` values; the fields that we leave unread all at
        once.
        """
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
