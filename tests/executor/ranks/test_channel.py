"""A word that nobody needs is not waited with."""

from __future__ import annotations

import pytest

from skipjoin.executor.ranks.channel import Channel, ChannelClosed, channel_pair

ENOUGH = 1 << 20


def test_what_is_offered_to_an_end_that_does_not_read_is_left_out() -> None:
    here, there = channel_pair()
    sent = 0
    while here.offer(b"goes on"):
        sent += 1
        assert sent < ENOUGH, "there is always room"
    other = Channel(there)
    assert [other.receive(10**10) for _ in range(sent)] == [b"goes on"] * sent
    assert here.offer(b"again")
    assert other.receive(10**10) == b"again"
    other.close()
    with pytest.raises(ChannelClosed):
        here.offer(b"nobody is there")
    here.close()
