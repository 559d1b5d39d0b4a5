"""The block ledger: every slot of both pools, every block, every move in flight.

Owns these rules (docs/architecture.md, "One turn"): free + owned + in flight is the pool, at most
one move per block, the slots of an ended job are orphans until their ticket returns. It does not
know who deserves room; the planner decides, the ledger keeps the books.

A map. The methods stand in the order of a block's life (docs/states/kv.md):

    room      blocks are born on free pages, and released    `grow`, `release`
    out       copies to the host begin, or are given up     `leave`, `write_behind`, `reclaim`
    in        a copy back begins                            `bring_in`
    landing   a copy is done; only here does a move end     `land`

An example (tests/kvstore/test_ledger_example.py): 4 slots in each pool, pages of 16 tokens, one job
of 40 tokens. The slots of a pool are free, owned and in flight.

                       device   host    clean   the job is
    grow(3)            1 3 0    4 0 0   0       resident     2 full blocks, and one of 8 tokens
    write_behind(1)    1 2 1    3 0 1   0       resident     it runs on while a full block is copied
    land               1 3 0    3 1 0   1       resident     that block is clean
    leave(40)          2 0 2    1 1 2   0       leaving      the clean page is free at once
    land               4 0 0    1 3 0   0       host         the others follow
    bring_in           1 0 3    1 0 3   0       returning    one move, 3 pages
    land               1 3 0    2 2 0   2       resident     the open block gave its copy back
    leave(40)          3 0 1    1 2 1   0       leaving      only the open block is copied again
    release            3 0 1    3 0 1   0       ended        that block is an orphan
    land               4 0 0    4 0 0   0       ended        both its slots are free
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.ids import Handle, MoveId
from ..core.plan import BlockTable, Direction, Move
from .blocks import AT_REST, COMING_IN, GOING_OUT, NOWHERE, Blocks
from .slots import SlotPool
from .table import Table


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """A move in flight: the blocks it carries and the table they belong to (or belonged, when they
    are orphans).
    """

    direction: Direction
    handle: Handle
    table: Table
    blocks: tuple[int, ...]


class Ledger:
    """Both pools of one executor generation. Sizes in pages; a page holds `page_tokens` tokens."""

    def __init__(self, device_pages: int, host_pages: int, page_tokens: int, generation: int = 0) -> None:
        self.page_tokens = page_tokens
        self.generation = generation
        self._next_move = 0
        self.device = SlotPool(device_pages)
        self.host = SlotPool(host_pages)
        self.blocks = Blocks(device_pages + host_pages)
        self.tickets: dict[MoveId, Ticket] = {}
        self.clean = 0
        """Blocks at rest with a slot in both pools: evicted free of charge, and their host slot is
        reclaimable.
        """

    # room -----------------------------------------------------------------------------------------
    def pages_for(self, tokens: int) -> int:
        """Pages that hold `tokens` tokens."""
        return -(-tokens // self.page_tokens)

    def grow(self, table: Table, count: int) -> list[int]:
        """Append `count` new blocks on free pages; answers the pages."""
        if count == 1:
            return [self.grow_by_one(table)]
        pages = self.device.take(count)
        table.blocks += self.blocks.born(pages)
        return pages

    def grow_by_one(self, table: Table) -> int:
        """Append a new block on a free page, as a running job needs it; answers the page."""
        page = self.device.take_one()
        table.blocks.append(self.blocks.born_on(page))
        return page

    def grow_each(self, tables: Sequence[Table]) -> list[int]:
        """As `grow_by_one` of each, in this order; there are enough free pages."""
        pages = self.device.take_each(len(tables))
        for table, block in zip(tables, self.blocks.born(pages), strict=True):
            table.blocks.append(block)
        return pages

    def block_tables(self, jobs: Sequence[tuple[Handle, Table]]) -> tuple[BlockTable, ...]:
        """Whole tables of resident or returning jobs as the executor wants them, in token order:
        slices of one column.
        """
        if not jobs:
            return ()
        blocks: list[int] = []
        for _, table in jobs:
            blocks += table.blocks
        column, start, out = self.blocks.pages_of(blocks), 0, []
        for handle, table in jobs:
            end = start + len(table.blocks)
            out.append(BlockTable(handle, column[start:end]))
            start = end
        return tuple(out)

    def release(self, table: Table) -> None:
        """The job needs its KV no more: slots at rest are free at once, slots under a move when
        their ticket returns.

        The table is dead; a job that goes on gets a new one, so that old tickets cannot touch its
        new KV.
        """
        blocks, device, host = self.blocks, self.device, self.host
        page, twin, refs, moving = blocks.page, blocks.host, blocks.refs, blocks.moving
        for block in table.blocks:
            refs[block] -= 1
            if refs[block] or moving[block]:
                continue
            on_device, on_host = page[block] != NOWHERE, twin[block] != NOWHERE
            if on_device:
                device.give(page[block])
            if on_host:
                host.give(twin[block])
                self.clean -= on_device
            blocks.bury(block)
        table.blocks = []

    def release_all(self, tables: Iterable[Table]) -> None:
        """`release` of each, in this order."""
        at_rest: list[int] = []
        for table in tables:
            if table.hosted:
                self._give_back(at_rest)
                at_rest = []
                self.release(table)
            else:
                # Nothing was ever copied, so no move holds anything: most jobs end like this.
                at_rest += table.blocks
                table.blocks = []
        self._give_back(at_rest)

    # out ------------------------------------------------------------------------------------------
    def reclaim(self, table: Table, count: int) -> int:
        """Give back up to `count` host slots of clean blocks, last tokens first; answers how many."""
        blocks, done = self.blocks, 0
        if table.leaving:
            return 0
        while done < count and table.hosted:
            block = table.blocks[table.hosted - 1]
            if blocks.moving[block] or blocks.page[block] == NOWHERE:
                break
            self._drop_twin(table)
            done += 1
        return done

    def write_behind(self, handle: Handle, table: Table, count: int) -> Move:
        """Copy the next `count` full blocks without a host slot; the job stays where it is. Needs
        `count` free host slots.
        """
        first = table.hosted
        return self._send(handle, table, table.blocks[first : first + count])

    def leave(self, handle: Handle, table: Table, tokens: int) -> Move | None:
        """A resident job with `tokens` computed tokens goes to the host: clean blocks are free at
        once, the others when they are copied.

        Needs host slots for the blocks without one. Answers the copy, None when every block was
        clean or on its way.
        """
        keep = self.pages_for(tokens)
        self._trim(table, keep)
        table.full = tokens // self.page_tokens
        table.leaving = True
        moving = self.blocks.moving
        for block in table.blocks[: table.hosted]:
            if not moving[block]:
                self._evict(table, block)
        dirty = table.blocks[table.hosted :]
        move = self._send(handle, table, dirty) if dirty else None
        if not table.going:
            table.leaving = False
        return move

    # in -------------------------------------------------------------------------------------------
    def bring_in(self, handle: Handle, table: Table, more: int = 0) -> Move:
        """Copy every block that is not on the device back to it, and append `more` new ones. Needs
        `table.missing + more` free pages and nothing in flight for the job.
        """
        blocks = self.blocks
        assert not table.leaving and not table.coming and table.missing, "a job returns once, from rest"
        absent = [block for block in table.blocks if blocks.page[block] == NOWHERE]
        pages = self.device.take(len(absent))
        for block, page in zip(absent, pages, strict=True):
            blocks.page[block] = page
            blocks.moving[block] = COMING_IN
        slots = [blocks.host[block] for block in absent]
        table.coming += 1
        move = self._ticket(Direction.IN, handle, table, absent, pages, slots)
        if more > 0:
            self.grow(table, more)
        return move

    # landing --------------------------------------------------------------------------------------
    def land(self, move_id: MoveId, generation: int) -> Ticket | None:
        """A move is done; None when it is of another generation."""
        if generation != self.generation:
            return None
        ticket = self.tickets.pop(move_id)
        table, blocks = ticket.table, self.blocks
        count = len(ticket.blocks)
        self.device.in_flight -= count
        self.host.in_flight -= count
        out = ticket.direction is Direction.OUT
        if out:
            table.going -= 1
        else:
            table.coming -= 1
        for block in ticket.blocks:
            blocks.moving[block] = AT_REST
            if not blocks.refs[block]:
                self.device.give(blocks.page[block])
                self.host.give(blocks.host[block])
                blocks.bury(block)
                continue
            self.clean += 1
            if not out:
                table.missing -= 1
            elif table.leaving:
                self._evict(table, block)
        if out:
            if not table.going:
                table.leaving = False
        elif table.blocks and table.hosted > table.full:
            # The open tail block will be written to: its host copy is stale from the next token on.
            self._drop_twin(table)
        return ticket

    # inside ---------------------------------------------------------------------------------------
    def _give_back(self, blocks: list[int]) -> None:
        """Blocks on the device alone are free."""
        self.device.give_all(self.blocks.bury_all(blocks))

    def _send(self, handle: Handle, table: Table, blocks: list[int]) -> Move:
        slots = self.host.take(len(blocks))
        columns = self.blocks
        for block, slot in zip(blocks, slots, strict=True):
            columns.host[block] = slot
            columns.moving[block] = GOING_OUT
        table.hosted += len(blocks)
        table.going += 1
        pages = [columns.page[block] for block in blocks]
        return self._ticket(Direction.OUT, handle, table, blocks, pages, slots)

    def _ticket(
        self, direction: Direction, handle: Handle, table: Table, blocks: list[int], pages: list[int], slots: list[int]
    ) -> Move:
        self.device.in_flight += len(blocks)
        self.host.in_flight += len(blocks)
        move_id = MoveId(self._next_move)
        self._next_move += 1
        self.tickets[move_id] = Ticket(direction, handle, table, tuple(blocks))
        return Move(move_id, direction, handle, np.array(pages, dtype=np.int32), np.array(slots, dtype=np.int32))

    def _evict(self, table: Table, block: int) -> None:
        """A clean block leaves the device."""
        self.device.give(self.blocks.page[block])
        self.blocks.page[block] = NOWHERE
        self.clean -= 1
        table.missing += 1

    def _drop_twin(self, table: Table) -> None:
        """The host copy of the last hosted block, which is clean, is given back."""
        table.hosted -= 1
        block = table.blocks[table.hosted]
        self.host.give(self.blocks.host[block])
        self.blocks.host[block] = NOWHERE
        self.clean -= 1

    def _trim(self, table: Table, keep: int) -> None:
        """Blocks behind `keep` hold no token yet: they were room for the rest of a prompt."""
        blocks = self.blocks
        for block in table.blocks[keep:]:
            assert blocks.host[block] == NOWHERE and not blocks.moving[block], "an empty block was copied"
            blocks.refs[block] = 0
            self.device.give(blocks.page[block])
            blocks.bury(block)
        del table.blocks[keep:]
