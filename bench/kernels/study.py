"""Every case of a scenario: made, checked against the truth, and only then timed.

Owns the order of work and the rows that come of it. It renders nothing; the command calls `study` and prints each row as it comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from statistics import median

import torch
from torch import Tensor

from ...core.clock import Clock
from ...core.plan import Direction
from . import pieces
from .attention import attention_contest
from .contest import OURS, OWN, Contest, Contestant
from .draws import sampling_contest
from .moves import move_contest, staging_contest
from .race import SAMPLE_NS, race
from .scenario import Case, KernelScenario
from .speeds import Probe, probes, roofline_ns
from .subject import Subject

FEWEST_ROUNDS = 3
NO_REASON = ""


@dataclass(frozen=True, slots=True)
class KernelRow:
    """One contestant on one case.

    `error` relative to the truth's largest number, None for who is only timed; `right` False: it is wrong and was not timed. `absent` says why
    somebody did not run, `unrecorded` why Python stood between its launches where the others were replayed. Times are of one run, in microseconds:
    median, smallest, largest of the rounds. `roofline` is the share that the least possible time is of the median; above 1 the data stayed in a cache
    that the copy does not fit.
    """

    case: str
    kernel: str
    contestant: str
    right: bool
    error: float | None = None
    bound: float | None = None
    absent: str = NO_REASON
    us: float | None = None
    us_min: float | None = None
    us_max: float | None = None
    gb_s: float | None = None
    gflop_s: float | None = None
    roofline: float | None = None
    ours_over_it: float | None = None
    unrecorded: str = NO_REASON

    @property
    def fails(self) -> bool:
        """Whether one of our own kernels is wrong or does not run."""
        return not self.right and self.contestant in OWN

    def as_json(self) -> dict[str, object]:
        """A line of the file."""
        return {"kind": "kernel", **asdict(self)}


@dataclass(frozen=True, slots=True)
class SpeedRow:
    """A roofline over all cases: GB/s or GFLOP/s, median, smallest and largest."""

    name: str
    unit: str
    median: float
    low: float
    high: float

    def as_json(self) -> dict[str, object]:
        """A line of the file."""
        return {"kind": "speed", **asdict(self)}


@dataclass(frozen=True, slots=True)
class Setting:
    """Where and how; `sample_ns` is the least time of a sample."""

    device: torch.device
    dtype: torch.dtype
    rounds: int
    flex: bool = True
    sample_ns: int = SAMPLE_NS


def study(scenario: KernelScenario, subject: Subject, setting: Setting, clock: Clock) -> Iterator[KernelRow | SpeedRow]:
    """The rows of each case as soon as it is done, the rooflines last."""
    torch.manual_seed(0)
    ceilings = probes(setting.device, setting.dtype)
    seen: dict[str, list[float]] = {name: [] for name in ceilings}
    for case in scenario.cases:
        for direction in Direction if case.kernel == "move" else (None,):
            try:
                yield from _contested(case, scenario, subject, setting, direction, clock, ceilings, seen)
            except (RuntimeError, MemoryError) as why:
                # A case that does not fit into memory: the others are still worth seeing.
                yield KernelRow(case.name, case.kernel, OURS, right=False, absent=_words(why))
    for name, rates in seen.items():
        if rates:
            unit = "GFLOP/s" if name == "gemm" else "GB/s"
            yield SpeedRow(name, unit, median(rates), min(rates), max(rates))


def _contested(
    case: Case,
    scenario: KernelScenario,
    subject: Subject,
    setting: Setting,
    direction: Direction | None,
    clock: Clock,
    ceilings: dict[str, Probe],
    seen: dict[str, list[float]],
) -> Iterator[KernelRow]:
    """Made, run and ended."""
    with torch.inference_mode():
        contest = make_contest(case, scenario, subject, setting, direction)
    try:
        yield from _rows(contest, setting, clock, ceilings, seen)
    finally:
        contest.close()


def _words(why: BaseException) -> str:
    return _first_line(str(why)) or type(why).__name__


def _first_line(text: str) -> str:
    return text.splitlines()[0][:120] if text else NO_REASON


def make_contest(
    case: Case, scenario: KernelScenario, subject: Subject, setting: Setting, direction: Direction | None = None
) -> Contest:
    """The contest of a case; `direction` for a move."""
    model, device, dtype = scenario.model, setting.device, setting.dtype
    if case.kernel == "attention":
        return attention_contest(case, model, subject, device, dtype, setting.flex)
    if case.kernel == "move":
        return move_contest(case, model, device, dtype, direction or Direction.OUT)
    makers = {
        "write": pieces.write_contest,
        "norm": pieces.norm_contest,
        "gate": pieces.gate_contest,
        "linear": pieces.linear_contest,
        "staging": staging_contest,
        "sampling": sampling_contest,
    }
    return makers[case.kernel](case, model, subject, device, dtype)


def _rows(
    contest: Contest, setting: Setting, clock: Clock, ceilings: dict[str, Probe], seen: dict[str, list[float]]
) -> Iterator[KernelRow]:
    with torch.inference_mode():
        truth = contest.truth()
        checked = [_checked(contest, one, truth) for one in contest.contestants]
        del truth
    fit = [one for one, row in zip(contest.contestants, checked, strict=True) if row.right]
    if fit:
        runners = [*fit, *(probe.contestant for probe in ceilings.values())]
        unrecorded: dict[str, str] = {}
        times = race(runners, setting.rounds, setting.device, clock, setting.sample_ns, unrecorded=unrecorded)
        speeds = {name: probe.amount / median(times[name]) for name, probe in ceilings.items()}
        for name, probe in ceilings.items():
            seen[name] += [probe.amount / ns for ns in times[name]]
        ours = median(times[OURS]) if OURS in times else None
        checked = [
            replace(
                _timed(row, contest, times, speeds, ours), unrecorded=_first_line(unrecorded.get(row.contestant, ""))
            )
            for row in checked
        ]
    yield from checked
    for name, why in contest.absent.items():
        yield KernelRow(contest.name, contest.kernel, name, right=False, absent=why)


def _checked(contest: Contest, contestant: Contestant, truth: Tensor) -> KernelRow:
    if contestant.result is None:
        return KernelRow(contest.name, contest.kernel, contestant.name, right=True)
    try:
        error = contest.error(contestant.result(), truth)
    except Exception as why:  # noqa: BLE001  compilers of kernels raise errors of their own
        # Out of memory, a shape that it does not take, no code for this device: the others are still worth seeing.
        return KernelRow(contest.name, contest.kernel, contestant.name, right=False, absent=_words(why))
    bound = 0.0 if contest.bound is None else contest.bound
    return KernelRow(contest.name, contest.kernel, contestant.name, error <= bound, error, bound)


def _timed(
    row: KernelRow, contest: Contest, times: dict[str, list[float]], speeds: dict[str, float], ours: float | None
) -> KernelRow:
    if row.contestant not in times:
        return row
    mine, work = times[row.contestant], contest.work
    ns = median(mine)
    moved = work.bytes or work.link_bytes
    return KernelRow(
        row.case, row.kernel, row.contestant, row.right, row.error, row.bound, row.absent,
        ns / 1e3, min(mine) / 1e3, max(mine) / 1e3, moved / ns, work.flops / ns if work.flops else None,
        roofline_ns(work, speeds) / ns, None if ours is None else ours / ns,
    )  # fmt: skip
