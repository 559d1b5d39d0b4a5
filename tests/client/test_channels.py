"""Channels of a client: another one before one is full, the first with room again afterwards, and a
bound on them.
"""

from __future__ import annotations

from contextlib import ExitStack

from skipjoin.client.channels import FULL, MOST, Channels


def test_a_full_channel_is_joined_by_another_and_used_again_when_it_has_room() -> None:
    opened: list[str] = []

    def open_(target: str) -> int:
        opened.append(target)
        return len(opened)

    channels = Channels(open_)
    with ExitStack() as held:
        first = [held.enter_context(channels.to("a")) for _ in range(FULL)]
        assert set(first) == {1}
        with channels.to("a") as second, channels.to("b") as other:
            assert (second, other) == (2, 3)
        with channels.to("a") as again:
            assert again == 2
    with channels.to("a") as channel:
        assert channel == 1
    assert opened == ["a", "a", "b"]
    assert channels.drain() == [1, 2, 3]
    with channels.to("a") as channel:
        assert channel == 4


def test_channels_are_bounded_and_what_is_beyond_is_spread() -> None:
    opened: list[str] = []
    channels = Channels(lambda target: opened.append(target) or len(opened))
    with ExitStack() as held:
        used = [held.enter_context(channels.to("a")) for _ in range(FULL * MOST + 2 * MOST)]
    assert len(opened) == MOST
    assert {used.count(channel) for channel in range(1, MOST + 1)} == {FULL + 2}
