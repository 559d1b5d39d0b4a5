"""The worked example of kvstore/ledger.py, call by call."""

from __future__ import annotations

from skipjoin.core.ids import Handle
from skipjoin.core.plan import Move
from skipjoin.kvstore import ledger as module
from skipjoin.kvstore.invariants import check
from skipjoin.kvstore.ledger import Ledger
from skipjoin.kvstore.table import Table

JOB, TOKENS = Handle(1), 40


def _rows() -> list[list[str]]:
    """The lines of the example: a call, seven counts, the job's residency."""
    _, _, example = (module.__doc__ or "").partition("the job is\n")
    return [line.split()[:9] for line in example.splitlines() if line.strip()]


def test_the_worked_example_is_true() -> None:
    ledger, table = Ledger(4, 4, 16), Table()
    moves: list[Move | None] = []

    def land() -> None:
        move = moves.pop()
        assert move is not None
        assert ledger.land(move.move_id, 0) is not None

    calls = {
        "grow(3)": lambda: ledger.grow(table, 3),
        "write_behind(1)": lambda: moves.append(ledger.write_behind(JOB, table, 1)),
        "leave(40)": lambda: moves.append(ledger.leave(JOB, table, TOKENS)),
        "bring_in": lambda: moves.append(ledger.bring_in(JOB, table)),
        "release": lambda: ledger.release(table),
        "land": land,
    }
    rows = _rows()
    assert len(rows) == 10
    ended = False
    for row in rows:
        calls[row[0]]()
        ended = ended or row[0] == "release"
        device, host = ledger.device, ledger.host
        counts = (
            *(device.free, device.owned, device.in_flight),
            *(host.free, host.owned, host.in_flight),
            ledger.clean,
        )
        assert row[1:8] == [str(count) for count in counts], row[0]
        assert row[8] == ("ended" if ended else table.residency.value), row[0]
        check(ledger, [] if ended else [table])
