"""The ladder: levels, their quanta, where a job joins and how far it drops.

Owns the quanta, made on demand and fixed from then on. It does not know jobs or queues; the MLFQ
policies ask it (FastServe section 4.1).
"""

from __future__ import annotations

from bisect import bisect_left

from ..core.ids import Level


class Ladder:
    """Levels 1, 2, ...; level i has the quantum `base_quantum_ns * ratio**(i - 1)`, whole
    nanoseconds.
    """

    def __init__(self, base_quantum_ns: int, ratio: float = 2.0) -> None:
        self._base_ns = base_quantum_ns
        self._ratio = ratio
        self._quanta_ns = [base_quantum_ns]

    def quantum_ns(self, level: int) -> int:
        """Quantum of `level`."""
        quanta_ns = self._quanta_ns
        if level <= len(quanta_ns):
            return quanta_ns[level - 1]
        while len(quanta_ns) < level:
            # The maximum keeps tiny quanta with a ratio near 1 strictly rising.
            power = int(self._base_ns * self._ratio ** len(quanta_ns))
            quanta_ns.append(max(power, quanta_ns[-1] + 1))
        return quanta_ns[level - 1]

    def entry_level(self, first_iteration_ns: int) -> Level:
        """The highest level whose quantum covers the first iteration, the paper's t_init."""
        return self._covering(1, first_iteration_ns)

    def level_after(self, level: int, carried_ns: int, next_iteration_ns: int) -> Level:
        """Where a job lands that used up `level`: at least one level down, further when the quantum
        cannot hold its next iteration.

        `carried_ns` is service beyond the old quantum; it counts against the new one. The paper
        writes p + eta and leaves eta open.
        """
        return self._covering(level + 1, carried_ns + next_iteration_ns)

    def _covering(self, lowest: int, service_ns: int) -> Level:
        quanta_ns = self._quanta_ns
        while quanta_ns[-1] < service_ns or len(quanta_ns) < lowest:
            self.quantum_ns(len(quanta_ns) + 1)
        return Level(1 + bisect_left(quanta_ns, service_ns, lowest - 1))
