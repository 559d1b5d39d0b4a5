"""One server per file.

Owns an advisory lock on a file beside the pool's, held as long as the process lives and dropped by
the kernel however it dies. It knows nothing of the pool's content; the SQLite pool takes it before
it touches its file.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ..core.errors import InvalidSettings, StoreUnavailable


class OwnerLock:
    """A held lock; `release` gives it back."""

    def __init__(self, path: Path) -> None:
        """Take the lock. Raises StoreUnavailable when somebody holds it, InvalidSettings when the
        file cannot be made.
        """
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise InvalidSettings(f"The job pool cannot be made there: {error.strerror}.", field="job_pool") from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._fd, 20, 0).decode("ascii", "replace").strip()
            os.close(self._fd)
            who = f"process {holder}" if holder.isdecimal() else "another process"
            raise StoreUnavailable(
                f"The job pool is in use by {who}: one server at a time. Stop that one, or give this one another "
                "job pool."
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, str(os.getpid()).encode("ascii"), 0)

    def release(self) -> None:
        """Give the lock back; idempotent. The file stays: removing it would let two owners lock two
        files of one name.
        """
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
