"""A metrics page read from outside: samples, sums, labels, and pages that are none."""

from __future__ import annotations

import asyncio

import pytest
from raw_server import RawServer, answer

from skipjoin.bench.load.process import OwnServer
from skipjoin.bench.load.skipjoin_target import MetricsPage, samples

PAGE = r"""# HELP moved_bytes_total Bytes.
# TYPE moved_bytes_total counter
moved_bytes_total{direction="out",to="a \"host\", or {so}"} 4.096e+03
moved_bytes_total{direction="in"} 904 1712345678901
moved_bytes_total_of_another 7
moved_bytes_total{direction="up"} NaN
moved_bytes_total{direction="down"} +Inf
moved_bytes_total{direction="sideways"} many
plain 3
:odd:name{} 5
policy_info{policy="fcfs"} 0.0
policy_info{policy="skipjoin"} 1.0
"""


def test_samples_of_a_page() -> None:
    moved = list(samples(PAGE, "moved_bytes_total"))
    assert moved == [
        ({"direction": "out", "to": r"a \"host\", or {so}"}, 4096.0),
        ({"direction": "in"}, 904.0),
    ]
    assert list(samples(PAGE, "plain")) == [({}, 3.0)]
    assert list(samples(PAGE, ":odd:name")) == [({}, 5.0)]
    assert list(samples(PAGE, "moved_bytes")) == []
    assert list(samples("", "plain")) == []


def _asked(url: str) -> tuple[int | None, int | None, str | None, str | None]:
    async def ask() -> tuple[int | None, int | None, str | None, str | None]:
        page = MetricsPage(url)
        try:
            return (
                await page.total("moved_bytes_total"),
                await page.total("none_total"),
                await page.label("policy_info", "policy"),
                await page.label("policy_info", "none"),
            )
        finally:
            await page.close()
            await page.close()

    return asyncio.run(ask())


def test_sums_and_labels() -> None:
    with RawServer(answer(PAGE, kind="text/plain")) as foreign:
        assert _asked(f"{foreign.url}/metrics") == (5000, None, "skipjoin", None)
        assert foreign.requests[0].startswith(b"GET /metrics ")


@pytest.mark.parametrize(
    "response",
    [answer(PAGE, status="404 Not Found"), answer(b"plain \xff\xfe 3", kind="text/plain"), b"", b"SSH-2.0-other\r\n"],
    ids=["404", "bytes", "nothing", "another protocol"],
)
def test_a_page_that_is_none_says_nothing(response: bytes) -> None:
    with RawServer(response) as foreign:
        assert _asked(foreign.url) == (None, None, None, None)


def test_nobody_there_says_nothing(server: OwnServer) -> None:
    assert _asked("http://127.0.0.1:9/metrics") == (None, None, None, None)
    assert _asked("no url") == (None, None, None, None)
    assert _asked(f"{server.http_url}/nowhere") == (None, None, None, None)


def test_the_page_of_a_real_server(server: OwnServer) -> None:
    async def ask() -> tuple[int | None, int | None]:
        page = MetricsPage(f"{server.http_url}/metrics")
        try:
            return await page.total("skipjoin_kv_moved_bytes_total"), await page.total("skipjoin_engine_ready")
        finally:
            await page.close()

    moved, ready = asyncio.run(ask())
    assert moved is not None and moved >= 0
    assert ready == 1
