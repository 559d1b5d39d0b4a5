"""Plans that are submitted before earlier ones were read: every job's tokens are what they are when
each plan is read at once.
"""

from __future__ import annotations

import pytest
import torch
from ahead_story import SAMPLINGS, told

from skipjoin.core.errors import ExecutorLost
from skipjoin.executor import runner
from skipjoin.executor.upload import UploadRing
from skipjoin.kernels.dispatch import REFERENCE


@pytest.mark.parametrize("kernels", [None, REFERENCE], ids=["quickest", "reference"])
@pytest.mark.parametrize("depth", [2, 4])
@pytest.mark.parametrize("name", [*SAMPLINGS, "mixed"])
def test_tokens_are_those_of_one_plan_at_a_time(tiny64, name, depth, kernels):
    names = list(SAMPLINGS) if name == "mixed" else [name]
    seed = 10 * depth + len(names)
    _, tokens, logprobs = told(tiny64, names, seed, depth, 1, kernels=kernels, checked=True)
    story, ahead, beside = told(tiny64, names, seed, depth, depth, kernels=kernels, checked=True)
    assert ahead == tokens and beside == logprobs
    assert min(story.rejoined, story.cut, story.kept) > 3 and sum(map(len, tokens.values())) > 100
    asked = any(entry is not None for entries in logprobs.values() for entry in entries)
    assert asked == any(SAMPLINGS[one].logprobs is not None for one in names)


class AtOnce:
    """A device whose copies are over when they are launched, on which staging can so be tried where
    there is no other.
    """

    def staging(self, size):
        return torch.empty(size, dtype=torch.uint8)

    def launch(self, there, here):
        there.copy_(here)

    def event(self):
        return self

    def record(self):
        pass

    def synchronize(self):
        pass


class Spoiling(UploadRing):
    """Whatever was brought for an iteration is something else as soon as the next one begins."""

    def begin(self):
        super().begin()
        for slab in self._slabs:
            slab._there.fill_(0x3B)
            slab._staging.fill_(0x3B)


@pytest.mark.parametrize("kernels", [None, REFERENCE], ids=["quickest", "reference"])
def test_nothing_is_kept_that_was_brought_for_one_iteration(tiny64, monkeypatch, kernels):
    """The way that a GPU's arrays go, here on a CPU: the tokens of arrays that are not staged at
    all.
    """
    _, tokens, logprobs = told(tiny64, list(SAMPLINGS), 12, 2, 2, kernels=kernels, checked=True)
    monkeypatch.setattr(runner, "upload_for", lambda device: Spoiling(device, AtOnce()))
    _, staged, beside = told(tiny64, list(SAMPLINGS), 12, 2, 2, kernels=kernels, checked=True)
    assert staged == tokens and beside == logprobs


@pytest.mark.parametrize("held", ["decode order", "columns"])
def test_control_what_is_kept_in_an_iterations_memory_is_seen(tiny64, monkeypatch, held):
    """The planted fault: what outlives an iteration lies where the next one's arrays go."""

    class Careless(Spoiling):
        def keep(self, *arrays):
            return self.bring(*arrays) if (len(arrays) == 1) == (held == "columns") else super().keep(*arrays)

    _, tokens, _ = told(tiny64, ["seeded"], 12, 2, 2)
    monkeypatch.setattr(runner, "upload_for", lambda device: Careless(device, AtOnce()))
    try:
        _, staged, _ = told(tiny64, ["seeded"], 12, 2, 2)
    except ExecutorLost:
        return  # a row that there is not
    assert staged != tokens


def test_penalties_have_something_to_go_by(tiny64):
    """Without them the same stories have other tokens: what is compared above depends on the
    counts.
    """
    _, plain, _ = told(tiny64, ["greedy"], 21, 2, 1)
    for name in ("repetition", "frequency"):
        _, penalised, _ = told(tiny64, [name], 21, 2, 1)
        changed = sum(plain[handle] != penalised[handle] for handle in plain)
        assert changed > len(plain) // 2
