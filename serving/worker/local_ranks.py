"""The processes of the ranks that run on the engine's own machine.

Owns them from start to end: each has a socket to rank 0 that nobody else can reach, and all meet at
a file in a folder of their user. It says nothing to them; `other_ranks` does.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ...core.clock import unix_ns
from ...core.errors import ExecutorLost
from ...executor.ranks.channel import Channel, channel_pair
from ...executor.ranks.meeting import meeting_in
from .berth import Berth, local_berth

RANK_MODULE = f"{__package__}.rank_process"
_ENDS_ITSELF_S = 2.0
_FOLDER = "skipjoin-ranks-"
_YOUNG_NS = 120_000_000_000
"""A folder as young as this may be one that its engine has not locked yet."""


class LocalRanks:
    """Ranks 1 to `world` - 1."""

    def __init__(self, world: int) -> None:
        """Start them. Raises ExecutorLost when a process cannot be had."""
        remove_leftovers(Path(tempfile.gettempdir()))
        self._folder = Path(tempfile.mkdtemp(prefix=_FOLDER))  # no other user may open it
        self._lock = _locked(self._folder)
        self._processes: list[subprocess.Popen[bytes]] = []
        self.meeting = meeting_in(str(self._folder / "meeting"))
        self.channels: list[Channel] = []
        try:
            for rank in range(1, world):
                here, there = channel_pair()
                self.channels.append(here)
                with there:
                    self._processes.append(start_rank(there.fileno(), local_berth(rank, world)))
        except OSError as error:
            self.close()
            raise ExecutorLost("The process of a rank could not be started.") from error

    def close(self) -> None:
        """End them; idempotent."""
        for channel in self.channels:
            channel.close()
        for process in self._processes:
            end_rank(process, _ENDS_ITSELF_S)
        self._processes.clear()
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def remove_leftovers(parent: Path) -> None:
    """Remove the folders of engines that were killed: they are old, and nobody holds their lock."""
    for folder in parent.glob(f"{_FOLDER}*"):
        with contextlib.suppress(OSError):
            found = folder.lstat()
            if found.st_uid != os.getuid() or unix_ns() - found.st_mtime_ns < _YOUNG_NS:
                continue
            lock = _locked(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _locked(folder: Path) -> int | None:
    """The folder, held until this descriptor is closed or the process ends; None where somebody
    holds it. Raises OSError.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def start_rank(descriptor: int, berth: Berth, model: Path | None = None) -> subprocess.Popen[bytes]:
    """A process that is this rank, with the socket of that number. `model`: where its machine has
    the model, if it is elsewhere than on rank 0's. Raises OSError.
    """
    # -P: a module of the folder that the server was started in must not pass for one of Python's.
    command = [sys.executable, "-P", "-m", RANK_MODULE, str(descriptor), *berth.words()]
    command += [] if model is None else [str(model)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(descriptor,), env=dict(os.environ))


def end_rank(process: subprocess.Popen[bytes], patience_s: float) -> None:
    """Wait for its end, and kill it after so long."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(patience_s)
    process.kill()
    process.wait()
