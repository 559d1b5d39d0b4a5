"""An executor that tells the door what it is about to compute.

Owns one decoration of the Executor port: before a plan with another batch than the last is carried
out, its jobs go over the socket. It does not know why; the door counts a crash only against jobs that
were in a plan in flight (docs/operations.md).
"""

from __future__ import annotations

from ...core.executor import Executor, ExecutorFacts
from ...core.outcome import IterationOutcome
from ...core.plan import DecodeBatch, IterationPlan
from ...proto.frames import Launched
from ..ipc import EngineEnd


class AnnouncingExecutor:
    """Executor port; everything but the announcement is the inner executor's."""

    def __init__(self, inner: Executor, ipc: EngineEnd, incarnation: int) -> None:
        self._inner = inner
        self._ipc = ipc
        self._incarnation = incarnation
        self._decode: DecodeBatch | None = None
        self._prefilling: tuple[int, ...] = ()

    def start(self) -> ExecutorFacts:
        """As the port says."""
        return self._inner.start()

    def submit(self, plan: IterationPlan) -> None:
        """Announce the batch if it has other members than the last one, then hand the plan on."""
        if plan.decode is not self._decode or plan.prefills or self._prefilling:
            self._announce(plan)
        self._inner.submit(plan)

    def _announce(self, plan: IterationPlan) -> None:
        prefilling = tuple(chunk.handle for chunk in plan.prefills)
        if plan.decode is not self._decode or prefilling != self._prefilling:
            self._decode, self._prefilling = plan.decode, prefilling
            members = frozenset(plan.decode.handles.tolist()) | frozenset(prefilling)
            self._ipc.send(Launched(self._incarnation, members))

    def poll(self, timeout_ns: int | None) -> IterationOutcome | None:
        """As the port says."""
        return self._inner.poll(timeout_ns)

    def close(self) -> None:
        """As the port says."""
        self._inner.close()
