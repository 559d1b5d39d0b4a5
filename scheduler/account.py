"""What one job was charged, as a base plus a difference of ticks.

Owns the arithmetic that lets an unchanged turn touch no job: while a job decodes its service grows
with the decode clock and nothing is written. It does not know quanta or costs; every policy keeps
one account per job.
"""

from __future__ import annotations

from ..core.policy import JobAttributes, Tick


class JobEntry:
    """An open job as a policy sees it: the attributes of its arrival, whether it is in the batch, and its
    service so far.

    Attained service is what it was charged since it arrived, in ns: prefill chunks, and the decode
    parts of iterations it took part in.
    """

    __slots__ = (
        "_base_ns",
        "_base_tokens",
        "_prefilling",
        "_since",
        "attributes",
        "begun",
        "emitted",
        "prefill_left_tokens",
        "running",
        "waiting_since_ns",
    )

    def __init__(self, attributes: JobAttributes, tick: Tick) -> None:
        self.attributes = attributes
        self.running = False
        self.waiting_since_ns = tick.now_ns
        self.emitted = attributes.generated_tokens > 0
        """Whether the first token is out."""
        self.begun = self.emitted
        """Whether the job is or was in the batch, here or where it was taken over from."""
        self.prefill_left_tokens = attributes.uncached_tokens
        self._base_ns = 0
        self._base_tokens = attributes.generated_tokens
        self._since: Tick | None = None
        self._prefilling = True

    @property
    def decoding(self) -> bool:
        """Whether the decode clock charges the job."""
        return self._since is not None

    @property
    def prefilling(self) -> bool:
        """Whether the next token comes from a prefill: before the first token and during a
        recompute.
        """
        return self._prefilling

    def service_ns(self, tick: Tick) -> int:
        """Attained service."""
        since = self._since
        return self._base_ns if since is None else self._base_ns + tick.decode_ns - since.decode_ns

    def output_tokens(self, tick: Tick) -> int:
        """Tokens emitted so far."""
        since = self._since
        return self._base_tokens if since is None else self._base_tokens + tick.steps - since.steps

    def step_ns(self, tick: Tick) -> int | None:
        """Mean decode part of the iterations since the job joined the decode batch; None before the
        first.
        """
        since = self._since
        if since is None or tick.steps <= since.steps:
            return None
        return (tick.decode_ns - since.decode_ns) // (tick.steps - since.steps)

    def join(self) -> None:
        """The job enters the batch."""
        self.running = self.begun = True

    def charge(self, service_ns: int, computed_tokens: int) -> None:
        """A prefill chunk."""
        self._base_ns += service_ns
        self._prefilling = True
        left = self.prefill_left_tokens - computed_tokens
        self.prefill_left_tokens = left if left > 0 else 0

    def decode(self, tick: Tick) -> None:
        """The KV is complete; the chunk that ended a prefill emitted a token."""
        since = self._since
        if since is not None:
            self._settle(tick, since)
        if self._prefilling:
            self._prefilling = False
            self._base_tokens += 1
        self.emitted = True
        self.prefill_left_tokens = 0
        self._since = tick

    def leave(self, tick: Tick) -> None:
        """The job leaves the batch and waits from now on."""
        if self._since is not None:
            self._settle(tick, self._since)
        self.running = False
        self.waiting_since_ns = tick.now_ns

    def _settle(self, tick: Tick, since: Tick) -> None:
        self._base_ns += tick.decode_ns - since.decode_ns
        self._base_tokens += tick.steps - since.steps
        self._since = None
