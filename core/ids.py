"""Names for the things that are numbered or named.

Owns the NewTypes that keep a page from being passed for a move. It knows nothing of what stands
behind an id; everybody imports it.
"""

from __future__ import annotations

from typing import NewType

JobId = NewType("JobId", str)
"""Public name of a job, given by the door: 32 lower-case hex digits. Unique for ever."""

Handle = NewType("Handle", int)
"""The engine's number for a job. Given by the door with `Submitted`, counts up, never reused within
one engine incarnation.
"""

TenantId = NewType("TenantId", str)
DEFAULT_TENANT = TenantId("default")
TokenId = NewType("TokenId", int)
PageId = NewType("PageId", int)
"""A slot of the device pool. Names the same slot on every rank."""

HostSlot = NewType("HostSlot", int)
MoveId = NewType("MoveId", int)
Level = NewType("Level", int)
"""A level of the ladder; 1 is the highest. Policies without levels say 1."""
