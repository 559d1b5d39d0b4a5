"""Job pools side by side."""

from __future__ import annotations

from skipjoin.bench.device.pool import PoolFigures, pool_table


def test_pools_side_by_side() -> None:
    sqlite, memory = PoolFigures("sqlite", True, 10, 2000, 64, 30, 16), PoolFigures("memory", False, 1, 2, 64, 3, 16)
    lines = pool_table([sqlite, memory]).splitlines()
    assert lines[0].split(maxsplit=1) == ["sqlite", "memory (not durable)"]
    assert [line.split()[-2:] for line in lines[1:]] == [["10", "1"], ["2,000", "2"], ["30", "3"], ["480", "48"]]
