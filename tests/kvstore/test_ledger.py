"""The ledger under random events: after every step the books balance, and in the end nothing is
left.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from skipjoin.core.errors import InvariantViolation
from skipjoin.core.ids import Handle
from skipjoin.core.plan import Direction
from skipjoin.kvstore.blocks import NOWHERE
from skipjoin.kvstore.invariants import check
from skipjoin.kvstore.ledger import Ledger
from skipjoin.kvstore.table import Residency, Table

PAGE = 4


def _host_room(ledger: Ledger, table: Table) -> int:
    """Host slots that `table` could take: free ones and twins of other jobs' blocks."""
    page, moving = ledger.blocks.page, ledger.blocks.moving
    own = sum(1 for block in table.blocks[: table.hosted] if page[block] != NOWHERE and not moving[block])
    return ledger.host.free + ledger.clean - own


class LedgerMachine(RuleBasedStateMachine):
    """Jobs grow, are written behind, leave, return, end; moves land in any order."""

    @initialize(device=st.integers(1, 24), host=st.integers(0, 24))
    def start(self, device: int, host: int) -> None:
        self.ledger = Ledger(device, host, PAGE)
        self.tables: dict[int, Table] = {}
        self.tokens: dict[int, int] = {}
        self.next = 0

    def _pick(self, data: st.DataObject, *kinds: Residency) -> int | None:
        fitting = [h for h, t in self.tables.items() if t.residency in kinds]
        return data.draw(st.sampled_from(fitting)) if fitting else None

    @rule(pages=st.integers(1, 6))
    def enter(self, pages: int) -> None:
        if pages <= self.ledger.device.free:
            self.tables[self.next] = table = Table()
            assert len(set(self.ledger.grow(table, pages))) == pages
            self.tokens[self.next] = pages * PAGE - 1
            self.next += 1

    @rule(data=st.data())
    def grow(self, data: st.DataObject) -> None:
        handle = self._pick(data, Residency.RESIDENT)
        if handle is not None and self.ledger.device.free:
            table = self.tables[handle]
            self.ledger.grow(table, 1)
            self.tokens[handle] = data.draw(st.integers(len(table.blocks) * PAGE - PAGE + 1, len(table.blocks) * PAGE))

    @rule(data=st.data(), count=st.integers(1, 4))
    def write_behind(self, data: st.DataObject, count: int) -> None:
        handle = self._pick(data, Residency.RESIDENT)
        if handle is None:
            return
        table = self.tables[handle]
        count = min(count, self.tokens[handle] // PAGE - table.hosted, self.ledger.host.free)
        if count > 0:
            move = self.ledger.write_behind(Handle(handle), table, count)
            assert move.direction is Direction.OUT and len(move.pages) == count

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        handle = self._pick(data, Residency.RESIDENT)
        if handle is None:
            return
        table, tokens = self.tables[handle], self.tokens[handle]
        need = self.ledger.pages_for(tokens) - table.hosted
        if need > _host_room(self.ledger, table):
            return
        for other in self.tables.values():
            if need > self.ledger.host.free and other is not table:
                self.ledger.reclaim(other, need - self.ledger.host.free)
        if need <= self.ledger.host.free:
            self.ledger.leave(Handle(handle), table, tokens)
            assert table.residency in (Residency.LEAVING, Residency.HOST)

    @rule(data=st.data())
    def bring_in(self, data: st.DataObject) -> None:
        handle = self._pick(data, Residency.HOST)
        if handle is not None and self.tables[handle].missing <= self.ledger.device.free:
            self.ledger.bring_in(Handle(handle), self.tables[handle])

    @rule(data=st.data())
    def reclaim(self, data: st.DataObject) -> None:
        handle = self._pick(data, *Residency)
        if handle is not None:
            before = self.ledger.host.free
            given = self.ledger.reclaim(self.tables[handle], 2)
            assert self.ledger.host.free == before + given

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        handle = self._pick(data, *Residency)
        if handle is not None:
            self.ledger.release(self.tables.pop(handle))

    @precondition(lambda self: self.ledger.tickets)
    @rule(data=st.data())
    def land(self, data: st.DataObject) -> None:
        move_id = data.draw(st.sampled_from(sorted(self.ledger.tickets)))
        assert self.ledger.land(move_id, self.ledger.generation + 1) is None
        assert self.ledger.land(move_id, self.ledger.generation) is not None

    @invariant()
    def books_balance(self) -> None:
        if hasattr(self, "ledger"):
            check(self.ledger, self.tables.values())

    def teardown(self) -> None:
        if not hasattr(self, "ledger"):
            return
        for table in self.tables.values():
            self.ledger.release(table)
        for move_id in list(self.ledger.tickets):
            self.ledger.land(move_id, self.ledger.generation)
        check(self.ledger, ())
        assert self.ledger.device.free == self.ledger.device.total
        assert self.ledger.host.free == self.ledger.host.total


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_round_trip_keeps_full_twins_and_drops_the_tail() -> None:
    ledger, table = Ledger(8, 8, PAGE), Table()
    ledger.grow(table, 3)
    out = ledger.leave(Handle(1), table, 10)
    assert out is not None and table.residency is Residency.LEAVING and ledger.device.free == 5
    ledger.land(out.move_id, 0)
    assert table.residency is Residency.HOST and ledger.device.free == 8
    back = ledger.bring_in(Handle(1), table)
    assert back.host_slots.tolist() == out.host_slots.tolist()
    ledger.land(back.move_id, 0)
    assert table.residency is Residency.RESIDENT
    assert table.hosted == 2 and ledger.host.free == 6 and ledger.clean == 2
    # Full blocks are clean now: leaving again copies the tail only.
    again = ledger.leave(Handle(1), table, 10)
    assert again is not None and len(again.pages) == 1 and ledger.device.free == 7
    check(ledger, [table])


def test_the_slots_of_an_ended_job_wait_for_their_ticket() -> None:
    ledger, table = Ledger(4, 4, PAGE), Table()
    ledger.grow(table, 2)
    move = ledger.leave(Handle(1), table, 8)
    assert move is not None
    ledger.release(table)
    assert ledger.device.free == 2 and ledger.host.free == 2 and ledger.device.in_flight == 2
    check(ledger, ())
    ledger.land(move.move_id, 0)
    assert ledger.device.free == 4 and ledger.host.free == 4


def test_the_check_sees_an_early_free() -> None:
    ledger, table = Ledger(4, 4, PAGE), Table()
    ledger.grow(table, 2)
    check(ledger, [table])
    ledger.device.give(ledger.blocks.page[table.blocks[0]])
    with pytest.raises(InvariantViolation, match="held and free"):
        check(ledger, [table])


def test_the_check_sees_a_lost_slot() -> None:
    ledger, table = Ledger(4, 4, PAGE), Table()
    ledger.grow(table, 2)
    ledger.device.take(1)
    with pytest.raises(InvariantViolation, match="sum to the pool"):
        check(ledger, [table])
