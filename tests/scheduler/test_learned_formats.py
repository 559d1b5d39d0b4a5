"""A file of learned lengths that an older version wrote, kept in tests/golden/formats, is read with
every value as it was written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from skipjoin.scheduler.lengths.learned import VERSION, read, write
from skipjoin.scheduler.lengths.score import LengthScore

LEARNED = Path(__file__).parents[1] / "golden" / "formats" / "learned-version-1.json"

WANTED: dict[str, Any] = {
    "lead": -19.182628379523983,
    "salt": "12e23cc34a688eb1b6627b167c117505",
    "variance": 1.0333307457656973,
    "prompts filled": (12, 10),
    "prompts sums": (153.68735885620117, 370.9323444366455),
    "scores filled": (26, 28),
    "scores sums": (76.84368228912354, 185.4661746621132),
    "places": (14, [377, 437, 869, 1208]),
    "weights": [-1.0815627574920654, -0.4882577657699585, -1.0815627574920654],
}


def test_version_1() -> None:
    assert VERSION == 1, "a new version gets a file and a test of its own; this one is then refused or still read"
    data = LEARNED.read_bytes()
    forecast = read(data)
    assert forecast.guard.lead == WANTED["lead"]
    score = forecast.score
    assert isinstance(score, LengthScore)
    assert score.salt.hex() == WANTED["salt"]
    assert score.variance == WANTED["variance"]
    for name, counts in (("prompts", forecast.lengths.counts), ("scores", forecast.table.counts)):
        ended, passed = counts.read()
        assert (np.count_nonzero(ended), np.count_nonzero(passed)) == WANTED[f"{name} filled"]
        assert (float(ended.sum()), float(passed.sum())) == WANTED[f"{name} sums"]
    places = np.flatnonzero(score.squares)
    assert (len(places), places[:4].tolist()) == WANTED["places"]
    assert score.weights[places[:3]].tolist() == WANTED["weights"]
    assert write(forecast) == data
