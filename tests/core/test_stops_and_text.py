"""Stop strings and text: whatever divides the bytes, the answer is the one a plain search over all
bytes gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skipjoin.core.errors import InvariantViolation
from skipjoin.core.stops import StopMatch, StopMatcher, compile_stops
from skipjoin.core.text import TextAssembler

# Few letters, so that stops overlap with themselves and each other; two of them have several bytes.
STOPS = st.lists(st.text("abé語", min_size=1, max_size=5), max_size=4).map(tuple)
PIECES = st.lists(
    st.one_of(
        st.text("abé語", max_size=4).map(lambda text: text.encode()),
        st.binary(max_size=3),
        st.sampled_from(
            [b"\xe8", b"\xaa", b"\x9e", b"\xc3", b"\xa9", b"\xff", b"\xf0\x9f", b"\x98\x80", b"\xed\xa0", b"\x80"]
        ),
    ),
    max_size=12,
)


def plain_match(data: bytes, stops: tuple[str, ...]) -> StopMatch | None:
    """First complete stop by searching every prefix; the longest of those that end there."""
    needles = [stop.encode() for stop in stops]
    for end in range(1, len(data) + 1):
        lengths = [len(needle) for needle in needles if data[:end].endswith(needle)]
        if lengths:
            return StopMatch(end - max(lengths), end)
    return None


def text_after(
    pieces: Sequence[bytes], tokens: Iterable[int], *, stops: tuple[str, ...] = (), final: bool = False
) -> str:
    """The text after `tokens`, from scratch."""
    assembler = TextAssembler(pieces, stops=stops)
    text = assembler.push(tokens)
    return text + assembler.finish() if final else text


def plain_text(data: bytes, stops: tuple[str, ...], *, final: bool) -> str:
    """Text by the definition: cut at the stop, hold back what may begin one, drop an incomplete
    last character.
    """
    match = plain_match(data, stops)
    if match is not None:
        data = data[: match.start]
    elif not final:
        needles = [stop.encode() for stop in stops]
        held = max((n for n in range(len(data) + 1) for s in needles if n < len(s) and data.endswith(s[:n])), default=0)
        data = data[: len(data) - held]
    if final:
        return data.decode("utf-8", "replace")
    for drop in range(min(4, len(data) + 1)):
        tail = data[len(data) - drop :]
        if drop and is_incomplete(tail):
            return data[: len(data) - drop].decode("utf-8", "replace")
    return data.decode("utf-8", "replace")


def is_incomplete(tail: bytes) -> bool:
    """Whether some continuation makes `tail` one character: found by trying."""
    if not 0xC2 <= tail[0] <= 0xF4:
        return False
    need = 2 if tail[0] < 0xE0 else 3 if tail[0] < 0xF0 else 4
    if len(tail) >= need:
        return False
    for fill in (b"\x80", b"\x90", b"\xa0", b"\x8f", b"\x9f", b"\xbf"):
        rest = (fill + b"\x80\x80")[: need - len(tail)]
        try:
            # The decoder waits for the third byte of an encoded surrogate before it calls it an
            # error.
            (tail + rest).decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            continue
        return True
    return False


@given(PIECES, STOPS)
@settings(max_examples=400)
def test_matcher_finds_what_a_plain_search_finds(pieces: list[bytes], stops: tuple[str, ...]) -> None:
    matcher = StopMatcher(stops)
    fed = b""
    for piece in pieces:
        hit = matcher.push(piece)
        fed += piece
        expected = plain_match(fed, stops)
        assert hit == (expected is not None)
        assert matcher.match == expected
        if hit:
            break


@given(PIECES, STOPS, st.data())
@settings(max_examples=600)
def test_text_does_not_depend_on_how_tokens_come(
    pieces: list[bytes], stops: tuple[str, ...], data: st.DataObject
) -> None:
    tokens = list(range(len(pieces)))
    assembler = TextAssembler(pieces, stops=stops)
    text, taken = "", 0
    while taken < len(tokens):
        step = data.draw(st.integers(1, 3))
        text += assembler.push(tokens[taken : taken + step])
        taken = min(taken + step, len(tokens))
        assert text == text_after(pieces, tokens[:taken], stops=stops)
        assert text == plain_text(b"".join(pieces[:taken]), stops, final=False)
    text += assembler.finish()
    assert text == plain_text(b"".join(pieces), stops, final=True)
    assert text == text_after(pieces, tokens, stops=stops, final=True)


@given(PIECES, STOPS, st.integers(0, 12))
def test_resume_at_k_starts_with_the_bytes_held_back(pieces: list[bytes], stops: tuple[str, ...], k: int) -> None:
    k = min(k, len(pieces))
    before = text_after(pieces, range(k), stops=stops)
    resumed = TextAssembler(pieces, stops=stops)
    resumed.push(range(k))
    rest = resumed.push(range(k, len(pieces))) + resumed.finish()
    assert before + rest == text_after(pieces, range(len(pieces)), stops=stops, final=True)


def test_a_stop_across_token_borders_is_cut_and_not_shown() -> None:
    table = [b"Hello", b" wor", b"ld", b"\n\nUs", b"er: more"]
    assembler = TextAssembler(table, stops=("\n\nUser:",))
    assert [assembler.push([token]) for token in range(5)] == ["Hello", " wor", "ld", "", ""]
    assert assembler.stopped
    assert assembler.finish() == ""


def test_a_refuted_beginning_of_a_stop_comes_with_the_refuting_token() -> None:
    table = [b"a\n", b"\nX", b"b"]
    assembler = TextAssembler(table, stops=("\n\nUser:",))
    assert [assembler.push([token]) for token in (0, 1, 2)] == ["a", "\n\nX", "b"]


def test_the_earliest_end_wins_and_then_the_longest() -> None:
    matcher = StopMatcher(("abcd", "bc", "c"))
    assert matcher.push(b"xabcd")
    assert matcher.match == StopMatch(2, 4)


def test_hidden_tokens_are_counted_and_not_shown() -> None:
    assembler = TextAssembler([b"a", b"</s>"], hidden=frozenset({1}))
    assert assembler.push([0, 1]) == "a"
    assert assembler.tokens == 2


def test_a_token_beyond_the_table_has_no_text() -> None:
    assert text_after([b"a"], [0, 7, -1, 0]) == "aa"


def test_half_a_character_at_the_end_is_one_replacement() -> None:
    assembler = TextAssembler(["語".encode()[:2]])
    assert assembler.push([0]) == ""
    assert assembler.finish() == "�"
    assert assembler.finish() == ""
    with pytest.raises(InvariantViolation):
        assembler.push([0])


def test_no_stops_need_no_automaton_and_equal_stops_share_one() -> None:
    assert compile_stops(()) is None
    assert compile_stops(("a", "b")) is compile_stops(("a", "b"))
