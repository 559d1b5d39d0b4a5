"""Silence counts only what was owed, and a listener that was stopped itself blames nobody."""

from __future__ import annotations

from skipjoin.serving.door.silence import Silence

TICK = 250


def test_silence_adds_up_until_a_word_comes() -> None:
    silence = Silence(TICK, 0)
    assert silence.look(250, owed=True) == 0  # the first interval has begun with a word
    assert [silence.look(now, owed=True) for now in (500, 750, 1000)] == [250, 500, 750]
    silence.heard()
    assert silence.look(1250, owed=True) == 0
    assert silence.look(1500, owed=True) == 250


def test_where_no_word_is_owed_there_is_no_silence() -> None:
    silence = Silence(TICK, 0)
    silence.look(250, owed=True)
    assert silence.look(500, owed=True) == 250
    assert silence.look(750, owed=False) == 0
    assert silence.look(1000, owed=True) == 250


def test_a_pause_of_the_listener_counts_as_two_intervals_at_most() -> None:
    silence = Silence(TICK, 0)
    silence.look(250, owed=True)
    assert silence.look(60_000, owed=True) == 2 * TICK
