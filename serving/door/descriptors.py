"""File descriptors of the door.

Owns the raise of the soft limit at start and how many descriptors connections may take of it: what
the store, the engine and the operator's socket need is kept back. wiring calls it.
"""

from __future__ import annotations

import resource

KEPT_BACK = 128
"""Kept back for the job pool's files, the engine's socket and start, the operator, logs and
imports.
"""
WANTED = 65_536


def raise_limit() -> int:
    """Raise this process's limit on open files as far as it may, and answer it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(hard, WANTED)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return WANTED if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft
    return wanted


def room_for_connections(limit: int) -> int:
    """Connections that one of the two doors may hold under a limit of open files: half of what is
    not kept back.
    """
    return max(16, (limit - KEPT_BACK) // 2)
