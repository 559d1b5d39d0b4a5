"""Coefficients from a run of which only the requests' times are known, no iteration's.

Owns the loop that fits and replays in turn. A replay says which iterations lie between a request's
first and last token; the fit asks for coefficients under which their times add up to what was
measured; and so on. It looks at the measured times of the first requests only. Of the later ones it
knows arrival and lengths, as a simulator does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...core.plan import Int64s
from ...cost.linear import LinearCostModel
from ...profiler.fit import fit_sums
from .measured_run import MeasuredRun
from .replay import Replayed, Setup, replay

Floats = NDArray[np.float64]
ROUNDS = 10
START = LinearCostModel(2e7, 4e4, 1.0, 100.0, 1e5)
"""Anything of the right order; where it starts does not matter after some rounds."""


@dataclass(frozen=True, slots=True, eq=False)
class Refit:
    """Coefficients, the replay with them, and the fitted requests' mean relative error."""

    model: LinearCostModel
    replayed: Replayed
    error: float


def refit(run: MeasuredRun, setup: Setup, fitted: int) -> Refit:
    """Fit on the first `fitted` requests: the best of some rounds by their error."""
    model, best = START, None
    part = slice(0, fitted)
    for _ in range(ROUNDS):
        replayed = replay(model, run, setup)
        error = _error(run, replayed.run, part)
        if best is None or error < best.error:
            best = Refit(model, replayed, error)
        # Half way, so that rounds settle and do not swing: the schedule changes with the
        # coefficients.
        model = model.between(_solved(run, replayed, part))
    assert best is not None, "there is at least one round"
    return best


def _error(measured: MeasuredRun, simulated: MeasuredRun, part: slice) -> float:
    """Of latency and time to the first token, both against the measured latency.

    So a short wait does not outweigh all else.
    """
    latency = (measured.end_ns - measured.arrival_ns)[part]
    off = np.abs(simulated.end_ns - measured.end_ns)[part] + np.abs(simulated.first_ns - measured.first_ns)[part]
    return float((off / latency).mean())


def _solved(run: MeasuredRun, replayed: Replayed, part: slice) -> LinearCostModel:
    """The coefficients that explain the measured times by the iterations of the replay."""
    ends = np.array([step.end_ns for step in replayed.steps], dtype=np.int64)
    sums = np.vstack([np.zeros(5), np.cumsum([step.row.features() for step in replayed.steps], axis=0)])
    served = replayed.run
    features, times = [], []
    for begin, end, measured in (
        (served.first_ns, served.end_ns, run.end_ns - run.first_ns),
        (served.arrival_ns, served.end_ns, run.end_ns - run.arrival_ns),
    ):
        held = _sums_between(sums, ends, begin[part], end[part])
        known = (measured[part] > 0) & (held[:, 0] > 0)
        features.append(held[known])
        times.append(measured[part][known].astype(np.float64))
    return fit_sums(np.vstack(features), np.concatenate(times))


def _sums_between(sums: Floats, ends: Int64s, begin: Int64s, end: Int64s) -> Floats:
    """Features of the iterations that ended after `begin` and not after `end`."""
    out: Floats = sums[np.searchsorted(ends, end, "right")] - sums[np.searchsorted(ends, begin, "right")]
    return out
