"""A record of a live run, and its replay: the same events give the same effects.

Owns the file's lines: a header with settings, profile and pool sizes, then per turn three clock reads, the events, what the executor answered
and a digest of the effects. It does not know who runs the turn; engine/turn writes it, `simulate --replay` reads it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..core.effects import TurnEffects
from ..core.events import Event
from ..core.outcome import IterationOutcome


class Recorder:
    """Takes what a turn saw and did."""

    def events(self, events: Sequence[Event]) -> None:
        """The events of the turn that begins."""

    def turn(self, reads_ns: tuple[int, int, int], outcome: IterationOutcome | None, effects: TurnEffects) -> None:
        """The turn is over: drain, launch and outcome reads, the executor's answer, the effects."""
