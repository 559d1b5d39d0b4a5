"""What a measurement started does not outlive it, not even when it is killed without a word.

Owns a small process that watches one pipe: its end means that the process at the other side is
gone, and then it kills what it was told of. It imports nothing of ours, because this file is that
process's program too. `OwnServer` and the processes of peers each keep one beside them.
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
    """Watches over nothing yet, in a session that Ctrl-C and pauses do not reach."""

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
        """Kill the process, or the `group` it leads, when this one ends without `dismiss`."""
        self._tell(f"{-pid if group else pid}")

    def dismiss(self) -> None:
        """Stop watching. Idempotent."""
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
        # That it is gone is no reason to end a measurement.
        if not stdin.closed:
            with suppress(BrokenPipeError):
                stdin.write(f"{word}\n")
                stdin.flush()


def main() -> None:
    """Read to the end, then kill the last number (negative: a group), unless all is done."""
    watched: int | None = None
    for line in sys.stdin:
        if (word := line.strip()) == DONE:
            return
        watched = int(word)
    if watched is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(watched, signal.SIGKILL)


if __name__ == "__main__":
    main()
