"""What holds of the ledger between two steps.

Owns `check`, which recounts everything from the columns and raises InvariantViolation with the
first rule found broken. It changes nothing; engine/invariants calls it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..core.errors import InvariantViolation
from ..core.plan import Direction
from .blocks import AT_REST, COMING_IN, GOING_OUT, NOWHERE
from .ledger import Ledger
from .table import Residency, Table


def check(ledger: Ledger, tables: Iterable[Table]) -> None:
    """Raise InvariantViolation unless the books of `ledger` balance with `tables`, those of all open jobs.
    O(pool).
    """
    referred = _check_tables(ledger, list(tables))
    carried = _check_tickets(ledger)
    _check_slots(ledger, referred, carried)


def _check_tables(ledger: Ledger, tables: list[Table]) -> dict[int, int]:
    blocks = ledger.blocks
    referred: dict[int, int] = {}
    for table in tables:
        for at, block in enumerate(table.blocks):
            referred[block] = referred.get(block, 0) + 1
            _hold((blocks.host[block] != NOWHERE) == (at < table.hosted), "host copies are a prefix of the table")
        missing = [b for b in table.blocks if blocks.page[b] == NOWHERE or blocks.moving[b] == COMING_IN]
        _hold(table.missing == len(missing), "a table counts the blocks it misses")
        _hold(not table.leaving or table.going > 0, "a leaving job has a copy under way")
        _hold(not (table.leaving and table.coming), "no job leaves and returns at once")
        _hold(table.coming <= 1, "a job returns in one move")
        _hold(table.residency is not Residency.PARTIAL, "no job is stuck between the pools")
        full = len(table.blocks) if table.missing == 0 and not table.leaving else table.full
        _hold(table.hosted <= full or table.missing > 0 or table.leaving, "an open tail at home has no host copy")
    owners = np.zeros(blocks.capacity, dtype=np.int32)
    owners[list(referred)] = list(referred.values())
    _hold_all(np.frombuffer(blocks.refs, dtype=np.int32) == owners, "block {} counts its owners")
    return referred


def _check_tickets(ledger: Ledger) -> dict[int, Direction]:
    blocks = ledger.blocks
    carried: dict[int, Direction] = {}
    for ticket in ledger.tickets.values():
        for block in ticket.blocks:
            _hold(block not in carried, f"block {block} is in one move")
            carried[block] = ticket.direction
            _hold(blocks.page[block] != NOWHERE and blocks.host[block] != NOWHERE, "a move has both ends")
    moves = np.full(blocks.capacity, AT_REST, dtype=np.uint8)
    moves[list(carried)] = [GOING_OUT if way is Direction.OUT else COMING_IN for way in carried.values()]
    _hold_all(np.frombuffer(blocks.moving, dtype=np.uint8) == moves, "block {} knows its move")
    return carried


def _check_slots(ledger: Ledger, referred: dict[int, int], carried: dict[int, Direction]) -> None:
    blocks = ledger.blocks
    used = sorted(referred.keys() | carried.keys())
    clean = sum(1 for b in used if b not in carried and blocks.page[b] != NOWHERE and blocks.host[b] != NOWHERE)
    _hold(clean == ledger.clean, "clean blocks are counted")
    _hold(len(used) + blocks.free == blocks.capacity, "every block is used or free")
    for name, pool, column in (("device", ledger.device, blocks.page), ("host", ledger.host, blocks.host)):
        held = [column[b] for b in used if column[b] != NOWHERE]
        free = np.array(pool.free_slots(), dtype=np.int64)
        _hold(len(set(held)) == len(held), f"no {name} slot holds two blocks")
        _hold(len(np.unique(free)) == len(free), f"no {name} slot is free twice")
        _hold(not np.isin(held, free).any(), f"no {name} slot is held and free")
        _hold(len(held) + len(free) == pool.total, f"the {name} slots sum to the pool")
        in_flight = sum(1 for b in carried if column[b] != NOWHERE)
        _hold(pool.in_flight == in_flight, f"{name} slots in flight are counted")
        _hold(pool.owned == len(held) - in_flight, f"owned {name} slots are counted")


def _hold_all(true: np.ndarray[tuple[int], np.dtype[np.bool_]], rule: str) -> None:
    """`rule` names the first place at which it is broken."""
    if not true.all():
        _hold(False, rule.format(int(np.argmin(true))))


def _hold(true: bool, rule: str) -> None:
    if not true:
        raise InvariantViolation(f"The ledger broke a rule: {rule}.")
