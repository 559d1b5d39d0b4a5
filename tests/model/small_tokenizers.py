"""Folders with small tokenizers of every kind that is served.

Owns their training, on a few sentences, and the writing of the folder. It knows no test;
test_tokenizer_keys changes what it wrote.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SPACE = "\u2581"
SENTENCES = [
    "The quick brown fox jumps over the lazy dog, and the dog does not mind at all.",
    "hello hello there, how are you today? You are here; here you are.",
    "def f(x):\n    return x + 1\n\n\nclass A:\n    pass",
    "system user assistant model [INST] <<SYS>> <| im start end |> </s> <s>",
    "12345 67 890 0.5 h\u00e9llo w\u00f6rld na\u00efve \u4f60\u597d",
]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '[' + m['role'] + '] ' + m['content'] + ' ' }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}{{ unk_token }}{{ pad_token }}{{ "
    "image_token }}"
)
SPECIAL = ["<unk>", "<s>", "</s>", "<|mark|>"]


def _around(tokenizer: Tokenizer) -> None:
    """A begin token before every prompt."""
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )


def byte_level(*, add_prefix_space: bool = False) -> Tokenizer:
    """Byte-level BPE."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES * 3, trainer)
    _around(tokenizer)
    return tokenizer


def _byte_tokens() -> list[str]:
    return [f"<0x{byte:02X}>" for byte in range(256)]


def sentencepiece_bpe(pipeline: str = "legacy") -> Tokenizer:
    """SentencePiece-like BPE with byte fallback; the pipeline is legacy (a normaliser prepends),
    always, first, never, or none (no prefix at all).
    """
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    trainer = trainers.BpeTrainer(vocab_size=150, show_progress=False)
    trained.train_from_iterator(SENTENCES * 3, trainer)
    raw = json.loads(trained.to_str())["model"]
    pieces = [*SPECIAL, *_byte_tokens(), *sorted(raw["vocab"], key=raw["vocab"].get)]
    vocab = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    merges = [tuple(pair) for pair in raw["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if pipeline == "legacy":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    elif pipeline == "none":
        tokenizer.normalizer = normalizers.Replace(" ", SPACE)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prepend_scheme=pipeline, split=False)
    strip = [] if pipeline in ("none", "never") else [decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    _around(tokenizer)
    return tokenizer


def unigram() -> Tokenizer:
    """Unigram with byte fallback."""
    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=120, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False)
    trained.train_from_iterator(SENTENCES * 3, trainer)
    learned = [tuple(entry) for entry in json.loads(trained.to_str())["model"]["vocab"]]
    front = [(token, 0.0) for token in SPECIAL] + [(token, -20.0) for token in _byte_tokens()]
    known = {token for token, _ in front}
    vocab = front + [entry for entry in learned if entry[0] not in known]
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    _around(tokenizer)
    return tokenizer


KINDS = {
    "byte-level": byte_level,
    "byte-level-prefix": lambda: byte_level(add_prefix_space=True),
    "legacy": sentencepiece_bpe,
    "always": lambda: sentencepiece_bpe("always"),
    "first": lambda: sentencepiece_bpe("first"),
    "never": lambda: sentencepiece_bpe("never"),
    "none": lambda: sentencepiece_bpe("none"),
    "unigram": unigram,
}


def write_folder(folder: Path, config: dict[str, Any], kind: str) -> None:
    """A folder with that tokenizer; `config` is a model's config.json, whose size of vocabulary is
    made to fit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = KINDS[kind]()
    tokenizer.save(str(folder / "tokenizer.json"))
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}
    config = config | {"vocab_size": tokenizer.get_vocab_size() + 8} | ends
    (folder / "config.json").write_text(json.dumps(config))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "chat_template": TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def change(folder: Path, name: str, **fields: Any) -> None:
    """Set fields of a JSON file of the folder; ... takes one away."""
    file = folder / name
    raw = json.loads(file.read_text()) if file.exists() else {}
    raw |= fields
    file.write_text(json.dumps({key: value for key, value in raw.items() if value is not ...}))
