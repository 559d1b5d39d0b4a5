"""Every case of a scenario: made, checked against the truth, and only then timed.

Owns the order of work and the rows that come of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from statistics import median

import torch
from torch import Tensor

from ....core.clock import Clock
from ....core.plan import Direction
from ..race import SAMPLE_NS, Contestant, Probe, SpeedRow, probes, race, roofline_ns, speed_rows
from . import pieces
from .attention import attention_contest
from .contest import OURS, OWN, Contest, Ground, Subject
from .pieces import move_contest, sampling_contest, staging_contest
from .scenario import Case, KernelScenario

MAKERS = {
    "write": pieces.write_contest,
    "norm": pieces.norm_contest,
    "gate": pieces.gate_contest,
    "linear": pieces.linear_contest,
    "staging": staging_contest,
    "sampling": sampling_contest,
}


@dataclass(frozen=True, slots=True)
class KernelRow:
    """One contestant on one case; times are of one run.

    `right`: False where it is wrong and was not timed.
    `error`: relative to the truth's largest number; None where it is only timed.
    `absent`: why it did not run.
    `us`, `us_min`, `us_max`: median, smallest, largest of the rounds.
    `roofline`: the share that the least possible time is of the median; above 1 the data stayed in
    a cache that the copy does not fit.
    `unrecorded`: why Python stood between its launches where the others were replayed.
    """

    case: str
    kernel: str
    contestant: str
    right: bool
    error: float | None = None
    bound: float | None = None
    absent: str = ""
    us: float | None = None
    us_min: float | None = None
    us_max: float | None = None
    gb_s: float | None = None
    gflop_s: float | None = None
    roofline: float | None = None
    ours_over_it: float | None = None
    unrecorded: str = ""

    @property
    def fails(self) -> bool:
        """Whether one of our own kernels is wrong or does not run."""
        return not self.right and self.contestant in OWN

    def as_json(self) -> dict[str, object]:
        """A line of the file."""
        return {"kind": "kernel", **asdict(self)}


@dataclass(frozen=True, slots=True)
class Setting:
    """Where and how; `sample_ns`: the least time of a sample."""

    device: torch.device
    dtype: torch.dtype
    rounds: int
    flex: bool = True
    sample_ns: int = SAMPLE_NS


def study(scenario: KernelScenario, subject: Subject, setting: Setting, clock: Clock) -> Iterator[KernelRow | SpeedRow]:
    """The rows of each case as soon as it is done, the rooflines last."""
    torch.manual_seed(0)
    ground = Ground(scenario.model, subject, setting.device, setting.dtype)
    ceilings = Ceilings(probes(setting.device, setting.dtype))
    for case in scenario.cases:
        for direction in Direction if case.kernel == "move" else (Direction.OUT,):
            try:
                with torch.inference_mode():
                    contest = make_contest(ground, case, direction, setting.flex)
                try:
                    yield from _rows(contest, setting, clock, ceilings)
                finally:
                    contest.close()
            except (RuntimeError, MemoryError) as why:
                # A case that does not fit into memory: the others are still worth seeing.
                yield KernelRow(case.name, case.kernel, OURS, right=False, absent=_words(why))
    yield from speed_rows(ceilings.seen)


def make_contest(ground: Ground, case: Case, direction: Direction, flex: bool) -> Contest:
    """The contest of a case; `direction` is for a move."""
    if case.kernel == "attention":
        return attention_contest(ground, case, flex)
    if case.kernel == "move":
        return move_contest(ground, case, direction)
    return MAKERS[case.kernel](ground, case)


class Ceilings:
    """The probes, and every rate that they reached."""

    def __init__(self, probed: Mapping[str, Probe]) -> None:
        self.probed = probed
        self.seen: dict[str, list[float]] = {name: [] for name in probed}

    def speeds(self, times: Mapping[str, list[float]]) -> dict[str, float]:
        """Bytes or operations a nanosecond in these rounds."""
        for name, probe in self.probed.items():
            self.seen[name] += [probe.amount / ns for ns in times[name]]
        return {name: probe.amount / median(times[name]) for name, probe in self.probed.items()}


def _rows(contest: Contest, setting: Setting, clock: Clock, ceilings: Ceilings) -> Iterator[KernelRow]:
    with torch.inference_mode():
        truth = contest.truth()
        checked = [_checked(contest, one, truth) for one in contest.contestants]
        del truth
    if fit := [one for one, row in zip(contest.contestants, checked, strict=True) if row.right]:
        runners = [*fit, *(probe.contestant for probe in ceilings.probed.values())]
        unrecorded: dict[str, str] = {}
        times = race(runners, setting.rounds, setting.device, clock, setting.sample_ns, unrecorded=unrecorded)
        speeds = ceilings.speeds(times)
        for row in checked:
            timed = _timed(row, contest, times, speeds) if row.contestant in times else row
            yield replace(timed, unrecorded=_first_line(unrecorded.get(row.contestant, "")))
    else:
        yield from checked
    for name, why in contest.absent.items():
        yield KernelRow(contest.name, contest.kernel, name, right=False, absent=why)


def _checked(contest: Contest, contestant: Contestant, truth: Tensor) -> KernelRow:
    row = KernelRow(contest.name, contest.kernel, contestant.name, right=True)
    if contestant.result is None:
        return row
    try:
        error = contest.error(contestant.result(), truth)
    except Exception as why:  # noqa: BLE001  compilers of kernels raise errors of their own
        # Out of memory, a shape that it does not take, no code for this device: the others are
        # still worth seeing.
        return replace(row, right=False, absent=_words(why))
    return replace(row, right=error <= contest.bound, error=error, bound=contest.bound)


def _timed(row: KernelRow, contest: Contest, times: dict[str, list[float]], speeds: dict[str, float]) -> KernelRow:
    mine, work = times[row.contestant], contest.work
    ns = median(mine)
    return replace(
        row,
        us=ns / 1e3,
        us_min=min(mine) / 1e3,
        us_max=max(mine) / 1e3,
        gb_s=(work.bytes or work.link_bytes) / ns,
        gflop_s=work.flops / ns if work.flops else None,
        roofline=roofline_ns(work, speeds) / ns,
        ours_over_it=median(times[OURS]) / ns if OURS in times else None,
    )


def _words(why: BaseException) -> str:
    return _first_line(str(why)) or type(why).__name__


def _first_line(text: str) -> str:
    return text.splitlines()[0][:120] if text else ""
