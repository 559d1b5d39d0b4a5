"""A score may be as wrong as it likes: the guard keeps the mean near that of prompts alone.

Scores here are told the true length and say something else, from the first job on or from the
middle of the run. Virtual time: the figures are the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from skipjoin.core.policy import JobAttributes
from skipjoin.cost.profiles import load_profile
from skipjoin.engine import assemble as assembling
from skipjoin.scheduler.lengths.forecast import Forecast
from skipjoin.scheduler.lengths.guard import Guard
from skipjoin.scheduler.lengths.score import Score
from skipjoin.sim.drain import drain_rate
from skipjoin.sim.study import make_machine
from skipjoin.sim.world import Machine, simulate
from skipjoin.workload.requests import Workload, make_workload
from skipjoin.workload.source import open_source

REQUESTS = 400


class Told:
    """A guess made of the truth by a rule; `number` is the job's."""

    sd = 0.4

    def __init__(self, rule: Callable[[float, int], float]) -> None:
        self._rule = rule

    def keys(self, facts: JobAttributes) -> tuple[int, ...]:
        assert facts.output_tokens is not None
        return (round(1000 * self._rule(math.log(facts.output_tokens), int(facts.handle))),)

    def mu(self, keys: tuple[int, ...]) -> float:
        return keys[0] / 1000

    def learn(self, keys: tuple[int, ...], guessed: float, tokens: int) -> None:
        pass


def random(truth: float, number: int) -> float:
    return float(np.random.default_rng(number).normal(5.0, 1.0))


def reversed_(truth: float, number: int) -> float:
    return 10.0 - truth


def flipping(truth: float, number: int) -> float:
    return truth if number < REQUESTS // 2 else 10.0 - truth


def world(name: str, seed: int) -> tuple[Machine, Workload]:
    profile = load_profile("opt-13b-a100")
    work = make_workload(
        open_source(f"shape:{name}", None), requests=REQUESTS, warmup=0, seed=seed, poisson=True, room_tokens=60_000
    )
    machine = make_machine(profile, work, 32)
    return machine, work.at_rate(1.05 * drain_rate(machine, work))


def mean_jct_s(machine: Machine, work: Workload, score: Score | None, monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(assembling, "fresh", lambda: Forecast(score=score))
    jobs = simulate(machine, "adaptive", work).jobs
    return float(np.mean(jobs.end_ns - jobs.arrival_ns)) / 1e9


@pytest.mark.parametrize("shape", ["azure-conv", "sharegpt"])
def test_no_score_costs_more_than_a_hundredth_of_the_mean(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    machine, work = world(shape, 1)
    alone = mean_jct_s(machine, work, None, monkeypatch)
    ratios = {
        rule.__name__: mean_jct_s(machine, work, Told(rule), monkeypatch) / alone
        for rule in (random, reversed_, flipping)
    }
    assert max(ratios.values()) < 1.01, ratios
    truth = mean_jct_s(machine, work, Told(lambda truth, number: truth), monkeypatch) / alone
    assert truth < 0.99


def test_it_is_the_guard_that_keeps_it_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Believed without looking, the score that goes bad half-way costs three times what the test
    above allows.
    """
    machine, work = world("azure-conv", 1)
    alone = mean_jct_s(machine, work, None, monkeypatch)
    monkeypatch.setattr(Guard, "weight", 1.0)
    assert mean_jct_s(machine, work, Told(flipping), monkeypatch) / alone > 1.03
