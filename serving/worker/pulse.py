"""What an engine says of itself while it has nothing else to say.

Owns the frames by which the door tells a long start, a long iteration or a lack of work from a
hang: the code that does the work sends each, so they stop when it does. It does not know what the
steps are. engine_parts and torch_parts name the steps of a start; loading, kernels, sweep and
decoder say that they go on.
"""

from __future__ import annotations

from ...core.clock import Clock
from ...proto.frames import Beat, Starting
from ..ipc import EngineEnd

_EVERY_NS = 250_000_000


class Pulse:
    """The engine's own reports. Without a socket (`skipjoin.LLM`) nobody listens, and nothing is
    sent.
    """

    def __init__(self, ipc: EngineEnd | None, incarnation: int, clock: Clock) -> None:
        self._ipc = ipc
        self._incarnation = incarnation
        self._clock = clock
        self._step: str | None = None
        self._sent_ns = 0
        self._count = 0

    def step(self, name: str) -> None:
        """The start has come to this step. Raises IpcClosed."""
        self._step = name
        self._starting(0, 0)

    def advanced(self, done: int, total: int) -> None:
        """`done` of `total` of the present step, in its own unit; sent four times a second at most.
        Raises IpcClosed.
        """
        if self._clock.now_ns() - self._sent_ns >= _EVERY_NS:
            self._starting(done, total)

    def ready(self) -> None:
        """The start is over."""
        self._step = None

    def beat(self) -> None:
        """Something was done; sent four times a second at most. Raises IpcClosed."""
        now_ns = self._clock.now_ns()
        if self._ipc is None or now_ns - self._sent_ns < _EVERY_NS:
            return
        if self._step is not None:
            self._starting(0, 0)
            return
        self._sent_ns, self._count = now_ns, self._count + 1
        self._ipc.send(Beat(self._incarnation, self._count, now_ns))

    def _starting(self, done: int, total: int) -> None:
        self._sent_ns = self._clock.now_ns()
        if self._ipc is not None and self._step is not None:
            self._ipc.send(Starting(self._incarnation, self._step, done, total))
