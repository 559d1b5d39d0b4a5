"""A decode batch whose tensors stay where they are, so that what reads them can be launched again
without the host.

Owns `StandingBatch`, the port between whoever replays an iteration and a kernel set that can be
replayed. It computes nothing. A kernel set makes one (`Kernels.standing`), `executor/graphs` fills
it before each replay.
"""

from __future__ import annotations

from typing import Any, Protocol


class StandingBatch(Protocol):
    """The prepared form of decode iterations, in fixed buffers that are shared by all sizes.

    A `level` says how much attention work the launches leave room for. Rows and tiles beyond those
    of an iteration do nothing: such a row writes to no page and its results mean nothing. So it is
    from the start, before anything was filled in.
    """

    def levels(self, rows: int) -> int:
        """How many levels batches of `rows` rows have, from the least work to the most that the
        pool has room for.
        """
        ...

    def view(self, rows: int, level: int) -> Any:
        """What `rotate_and_write` and `attend` take for `rows` rows at that level. All that a
        launch reads on the host is fixed in it.
        """
        ...

    def fill(self, batch: Any, rows: int) -> int | None:
        """Copy what `prepare` made, of at most `rows` rows, into the buffers; gives the lowest
        level that has room for it.

        None, and nothing is copied, where the batch has chunks or does not fit.
        """
        ...
