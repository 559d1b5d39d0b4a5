"""How often the door's process looks for objects that only keep each other.

Owns the collector's settings. Reference counts free nearly all that a call leaves, so there is
little to find; but Python looks after every 700 new objects, and now and then at all that there
are. A client decides how many objects its call makes: half a million header fields, which a
connection may send before it has taken note of the server's limit, would make it look a thousand
times and keep the event loop for half a second. The command sets this once the door stands.
"""

from __future__ import annotations

import gc

YOUNG_OBJECTS = 50_000
"""New objects between two looks at the young ones: some 10 MB of calls at most."""
LOOKS = 20
"""Looks at one generation for each look at the next."""


def collect_rarely() -> None:
    """Leave out what stands now, which lives as long as the process, and look seldom at the rest."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, LOOKS, LOOKS)
