"""When the device did what: marks between its work, and the time between two marks.

Owns the two ways there are, and all of this package that is CUDA's own. It does not know what is marked. `marked` sets marks, the cases read them.
"""

from __future__ import annotations

from typing import Protocol

import torch

from ...core.clock import Clock


class Mark(Protocol):
    """A point in the order of the device's work."""

    def ns_until(self, later: Mark) -> float:
        """Nanoseconds from here to a later mark. The device must have come to it: call `Times.wait` first."""
        ...


class Times(Protocol):
    """The marks of one device."""

    def mark(self) -> Mark:
        """A mark behind everything that the device has been given, in front of everything that it will be."""
        ...

    def wait(self) -> None:
        """Until the device has nothing to do: copies on their way are over, too."""
        ...


def times_of(device: torch.device, clock: Clock) -> Times:
    """Events on CUDA; the clock where work is done when its call returns."""
    return CudaTimes(device) if device.type == "cuda" else CpuTimes(clock)


class _ClockMark:
    def __init__(self, at_ns: int) -> None:
        self.at_ns = at_ns

    def ns_until(self, later: Mark) -> float:
        assert isinstance(later, _ClockMark), "marks of one kind"
        return float(later.at_ns - self.at_ns)


class CpuTimes:
    """Marks are readings of the clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def mark(self) -> Mark:
        return _ClockMark(self._clock.now_ns())

    def wait(self) -> None:
        """There is nothing to wait for."""


class _EventMark:
    def __init__(self, device: torch.device) -> None:
        # The current stream is where the executor launches; the mover's streams are beside it and in nobody's way.
        self.event = torch.cuda.Event(enable_timing=True)
        self.event.record(torch.cuda.current_stream(device))

    def ns_until(self, later: Mark) -> float:
        assert isinstance(later, _EventMark), "marks of one kind"
        return float(self.event.elapsed_time(later.event)) * 1e6  # milliseconds


class CudaTimes:
    """Marks are events on the current stream: the device writes down when it came to them, however far ahead the host is."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def mark(self) -> Mark:
        return _EventMark(self._device)

    def wait(self) -> None:
        torch.cuda.synchronize(self._device)
