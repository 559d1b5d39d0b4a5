"""A measurement that is ended from outside ends what it started.

Owns what SIGTERM and a terminal that closes (SIGHUP) mean to a command of `bench`: the same as
Ctrl-C. Code that starts a process ends it on its way out; without this there would be no way out.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Within the block these signals interrupt as Ctrl-C does, unless they have a use already."""
    mine = {number: signal.SIG_DFL for number in SIGNALS if signal.getsignal(number) is signal.SIG_DFL}
    if threading.current_thread() is not threading.main_thread():
        mine = {}  # only the main thread may say what a signal means
    for number in mine:
        signal.signal(number, _interrupt)
    if mine and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # So a script starts what it leaves in the background: Ctrl-C is not meant for it, and
        # without a handler the other two would not reach it either.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        mine[signal.SIGINT] = signal.SIG_IGN
    try:
        yield
    finally:
        for number, meant in mine.items():
            signal.signal(number, meant)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # Not an exception from here: an event loop has its own way to be interrupted, and hangs on
    # this.
    signal.raise_signal(signal.SIGINT)
