"""Rank 0: an executor that the other ranks follow.

Owns `LeadingExecutor`, which is to the turn what one process is: it sends every plan on before it
carries it out itself, and answers a move as landed when it landed on all ranks. It does not compute
and starts no process. serving/worker makes it.
"""

from __future__ import annotations

import select
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from ...core.clock import MonotonicClock
from ...core.errors import ExecutorLost
from ...core.executor import Executor, ExecutorFacts
from ...core.ids import MoveId
from ...core.outcome import IterationOutcome
from ...core.plan import IterationPlan
from ...proto import ranks_pb2 as pb
from ...proto.columns import int64_column
from ...proto.plans import PlanWriter
from .channel import Channel, ChannelClosed

_LAST_WORDS_NS = 500_000_000
"""How long a rank's last words are waited for."""
OUT_OF_MEMORY = "It ran out of memory; give the ranks less with --kv-tokens, --host-kv-tokens or --max-batch."


class LeadingExecutor:
    """The Executor port over an executor of this process and the ranks behind `channels`, which
    start with it: rank 1 is behind the first.
    """

    def __init__(self, own: Executor, channels: Sequence[Channel], ended: Callable[[], None]) -> None:
        """`ended` ends the other ranks' processes once their channels are closed. `reports` is what
        each has said last of its steps.
        """
        self._own = own
        self._channels = channels
        self._ended = ended
        self._clock = MonotonicClock()
        self.sent_ns = 0  # spent on sending plans since the start
        self._writer = PlanWriter()
        self.reports: dict[int, pb.RankReport] = {}
        self._echoes: set[int] = set()  # ranks that were lost because another one was
        self._landings = Landings(1 + len(channels))
        self._computes: deque[bool] = deque()
        self._poll = select.poll()
        self._numbers = {channel.fileno(): number for number, channel in enumerate(channels, 1)}
        for number in self._numbers:
            self._poll.register(number, select.POLLIN)

    def start(self) -> ExecutorFacts:
        """As the port says; the other ranks start theirs meanwhile."""
        return self._own.start()

    def submit(self, plan: IterationPlan) -> None:
        """As the port says."""
        begun_ns = self._clock.now_ns()
        frame = pb.LeaderFrame(plan=self._writer.write(plan)).SerializeToString()
        for number, channel in enumerate(self._channels, 1):
            try:
                channel.send(frame)
            except ChannelClosed:
                raise _gone(number) from None
        self.sent_ns += self._clock.now_ns() - begun_ns
        self._landings.begun += len(plan.moves)
        self._computes.append(plan.computes)
        try:
            self._own.submit(plan)
        except MemoryError as full:
            raise ExecutorLost(f"Rank 0 ended: {OUT_OF_MEMORY}") from full
        except ExecutorLost as error:
            raise self._blamed(error) from error

    def poll(self, timeout_ns: int | None) -> IterationOutcome | None:
        """As the port says. A plan without compute is answered when a move has landed on all ranks."""
        try:
            outcome = self._own.poll(timeout_ns)
        except ExecutorLost as error:
            raise self._blamed(error) from error
        if outcome is None:
            return None
        self._landings.add(outcome.landed)
        self._hear(0)
        if not self._computes.popleft():
            while self._landings.awaited and self._hear(timeout_ns):
                pass
        return replace(outcome, landed=self._landings.taken())

    def close(self) -> None:
        """Give everything back, and let the other ranks end; idempotent."""
        for channel in self._channels:
            channel.close()
        self._own.close()
        self._ended()

    def _blamed(self, error: ExecutorLost) -> ExecutorLost:
        """A collective fails on all ranks when it fails on one: what became of that one, as far as
        the ranks' last words say it, else the error.
        """
        ends: dict[int, ExecutorLost] = {}
        for number, channel in enumerate(self._channels, 1):
            try:
                while (data := channel.receive(_LAST_WORDS_NS)) is not None:
                    self._landings.add(self._landed(data, number))
            except ChannelClosed:
                ends[number] = _gone(number)
            except ExecutorLost as said:
                ends[number] = said
        first = [*(set(ends) - self._echoes), *ends]
        return ends[first[0]] if first else error

    def _hear(self, timeout_ns: int | None) -> bool:
        """Take in what other ranks say, waiting for a word at most so long; whether there was one.
        Raises ExecutorLost.
        """
        ready = self._poll.poll(None if timeout_ns is None else -(-timeout_ns // 1_000_000))
        for descriptor, _ in ready:
            number = self._numbers[descriptor]
            try:
                data = self._channels[number - 1].receive(0)
            except ChannelClosed:
                raise _gone(number) from None
            while data is not None:
                self._landings.add(self._landed(data, number))
                data = self._channels[number - 1].receive(0)
        return bool(ready)

    def _landed(self, data: bytes, number: int) -> list[MoveId]:
        frame = pb.RankFrame.FromString(data)
        match frame.WhichOneof("body"):
            case "failed":
                if frame.failed.code == ExecutorLost.code:
                    self._echoes.add(number)
                raise ExecutorLost(f"Rank {number} ended: {frame.failed.message}")
            case "report":
                self.reports[number] = frame.report
        return [MoveId(move) for move in int64_column(frame.landed.moves).tolist()]


class Landings:
    """Counts the ranks on which each move has landed."""

    def __init__(self, ranks: int) -> None:
        self._ranks = ranks
        self._on: Counter[MoveId] = Counter()
        self._complete: list[MoveId] = []
        self.begun = 0

    def add(self, moves: Iterable[MoveId]) -> None:
        """They have landed on one rank more."""
        for move in moves:
            self._on[move] += 1
            if self._on[move] == self._ranks:
                del self._on[move]
                self._complete.append(move)

    @property
    def awaited(self) -> bool:
        """Whether moves are on their way and none has arrived since the last answer."""
        return self.begun > 0 and not self._complete

    def taken(self) -> tuple[MoveId, ...]:
        """Those that have landed on all ranks since this was last asked."""
        landed, self._complete = tuple(self._complete), []
        self.begun -= len(landed)
        return landed


def _gone(number: int) -> ExecutorLost:
    return ExecutorLost(f"Rank {number} is gone; the log says what it said last.")
