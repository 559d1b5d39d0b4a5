"""The bound on a text's tokens: never more than it has, whatever the pipeline does to it, and sharp
enough to refuse a long one unencoded.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_tokenizers import KINDS, byte_level, sentencepiece_bpe
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from skipjoin.model.text.token_cover import cover_of

PIECES = st.sampled_from(
    [
        *(" ", "\n", "\u3000", "a", "hello", "the ", "\u2581", "\u2581\u2581", "0", "<|mark|>", "</s>", "  <pad>  "),
        *("e\u0301", "u\u0308\u0304", "\u1112\u1161\u11ab", "\uff21", "\U0001d400", "\u212a", "\ufdfa", "\U0001f600"),
        *("\u0130", "\x85", "\u03b1\u0314\u0300\u0345", "\u200b"),
    ]
)
TEXTS = st.lists(PIECES | st.characters(exclude_categories=("Cs",)), max_size=60).map("".join)


def normalized(*parts) -> Tokenizer:
    tokenizer = byte_level()
    tokenizer.normalizer = normalizers.Sequence(list(parts))
    return tokenizer


def split(part) -> Tokenizer:
    tokenizer = byte_level()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([part, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return tokenizer


def with_added(**flags: bool) -> Tokenizer:
    tokenizer = sentencepiece_bpe("first")
    tokenizer.add_tokens([AddedToken("<pad>", **flags)])
    return tokenizer


def without_fallback(*, fuse_unk: bool, unk_token: str | None) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1, "<unk>": 2}, [], unk_token=unk_token, fuse_unk=fuse_unk))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer


MADE = {
    **{kind: make() for kind, make in KINDS.items()},
    "NFC": normalized(normalizers.NFC()),
    "NFKC": normalized(normalizers.NFKC()),
    "NFKC, lowered": normalized(normalizers.NFKC(), normalizers.Lowercase()),
    "replaced": normalized(normalizers.Replace("hello", "h")),
    "stripped": normalized(normalizers.Strip()),
    "whitespace": split(pre_tokenizers.WhitespaceSplit()),
    "digits": split(pre_tokenizers.Digits(individual_digits=True)),
    "pad": with_added(),
    "pad strips": with_added(lstrip=True, rstrip=True),
    "unknown each": without_fallback(fuse_unk=False, unk_token="<unk>"),
}
UNBOUNDED = {
    "dropped": normalized(normalizers.Replace("a", "")),
    "dropped by a pattern": normalized(normalizers.Replace(Regex("a+"), "a")),
    "accents": normalized(normalizers.NFD(), normalizers.StripAccents()),
    "split away": split(pre_tokenizers.Split("a", "removed")),
    "unknown fused": without_fallback(fuse_unk=True, unk_token="<unk>"),
    "unknown dropped": without_fallback(fuse_unk=False, unk_token=None),
    "byte missing": Tokenizer(models.BPE({"a": 0, "b": 1}, [])),
}


def cover(tokenizer: Tokenizer):
    return cover_of(json.loads(tokenizer.to_str()), tokenizer.get_added_tokens_decoder().values())


@pytest.mark.parametrize("name", MADE)
def test_a_text_never_has_fewer_tokens(name: str) -> None:
    tokenizer = MADE[name]
    bound = cover(tokenizer)
    assert bound.most_bytes is not None

    @given(TEXTS)
    def never_fewer(text: str) -> None:
        assert bound.fewest_tokens(text) <= len(tokenizer.encode(text, add_special_tokens=False).ids)

    never_fewer()
    assert bound.fewest_tokens("word " * 10_000) > 200


@pytest.mark.parametrize("name", UNBOUNDED)
def test_where_text_may_vanish_there_is_no_bound(name: str) -> None:
    assert cover(UNBOUNDED[name]).most_bytes is None
    assert cover(UNBOUNDED[name]).fewest_tokens("a" * 10_000) == 0
