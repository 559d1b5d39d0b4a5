"""An instant, as the scheduler is told it.

Owns `Tick`. It reads no clock: engine/state makes ticks, policies take differences of them.
"""

from __future__ import annotations

from typing import NamedTuple


class Tick(NamedTuple):
    """One instant on the engine's three clocks.

    `now_ns` is the wall (monotonic) clock; `decode_ns` is the decode clock: the sum, over the iterations launched so far, of the predicted time
    of their decode part; `steps` counts iterations that had a decode part. What a job did while it stood in the decode batch is a difference
    of two ticks: service = decode_ns - decode_ns at joining, tokens = steps - steps at joining. So an unchanged turn touches no job.
    """

    now_ns: int
    decode_ns: int
    steps: int
