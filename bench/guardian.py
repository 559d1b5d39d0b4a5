"""What a measurement started does not outlive it, not even when it is killed without a word.

Owns a small process that watches one pipe: its end means that whoever held the other side is gone, and then it kills what it was told of. It imports
nothing of ours, because this file is that process's program too. Whoever starts a server or an engine to be measured keeps one beside it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress

END_S = 5.0
DONE = "done"


class Guardian:
    """Starts watching at once, over nothing. It is in a session of its own: Ctrl-C and pauses of those it watches do not reach it."""

    def __init__(self) -> None:
        """Raises OSError."""
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def watch(self, pid: int, *, group: bool) -> None:
        """Kill the process, or the `group` that it leads, when this process ends before it called `dismiss`."""
        self._tell(f"{-pid if group else pid}")

    def dismiss(self) -> None:
        """Nothing is to be watched any longer. Idempotent."""
        self._tell(DONE)
        stdin = self._process.stdin
        if stdin is not None:
            with suppress(OSError):
                stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)

    def _tell(self, word: str) -> None:
        stdin = self._process.stdin
        assert stdin is not None, "piped"
        # One that is gone has nobody to kill; it is no reason to end a measurement.
        if not stdin.closed:
            with suppress(BrokenPipeError):
                stdin.write(f"{word}\n")
                stdin.flush()


def main() -> None:
    """Read until the end: the last number before it is who is killed, a negative one a group, unless it said that all is done."""
    watched: int | None = None
    for line in sys.stdin:
        if (word := line.strip()) == DONE:
            return
        watched = int(word)
    if watched is not None:
        with suppress(ProcessLookupError, PermissionError):
            if watched < 0:
                os.killpg(-watched, signal.SIGKILL)
            else:
                os.kill(watched, signal.SIGKILL)


if __name__ == "__main__":
    main()
