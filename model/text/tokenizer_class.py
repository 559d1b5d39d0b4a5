"""What a tokenizer's class changes in its tokenizer.json.

Owns the rule by which Transformers chooses a class for a folder, and the four classes that serve
the families here and bring a pipeline of their own: they take vocabulary and merges from
tokenizer.json and leave its normaliser, pre-tokenizer and decoder. With every other class the file
is used as it stands. It knows JSON alone; tokenizer_files calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

JsonObject = dict[str, Any]

_SPACE = "\u2581"
_QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, slots=True)
class TokenizerClass:
    """A class with a pipeline of its own. `tokens` are its named special tokens where the folder
    names none.
    """

    name: str
    tokens: Mapping[str, str]
    pipeline: Callable[[JsonObject, Mapping[str, Any], Mapping[str, str]], JsonObject]
    """Of tokenizer.json, tokenizer_config.json and the named special tokens: the four parts as the
    class makes them.
    """
    adds_named: bool = False  # named tokens become special ones whatever the files say

    def applied(self, raw: JsonObject, settings: Mapping[str, Any], named: Mapping[str, str]) -> JsonObject:
        """tokenizer.json with the pipeline of the class; the added tokens are left to be added
        again.
        """
        parts = self.pipeline(raw, settings, named)
        model = {**parts.pop("model"), "type": "BPE", "dropout": None}
        model |= {"vocab": raw["model"].get("vocab"), "merges": raw["model"].get("merges", [])}
        return {**raw, **parts, "model": model, "added_tokens": []}


def class_of(raw: JsonObject, settings: Mapping[str, Any], config: Mapping[str, Any]) -> TokenizerClass | None:
    """The class that a folder's files ask for; None where tokenizer.json is used as it stands."""
    model = raw.get("model")
    if not isinstance(model, dict) or model.get("type") != "BPE":
        return None
    declared = settings.get("tokenizer_class") or config.get("tokenizer_class")
    declared = declared.removesuffix("Fast") if isinstance(declared, str) else None
    registered = _OF_MODEL_TYPE.get(str(config.get("model_type")))
    if declared == "LlamaTokenizer" and registered != "Qwen2Tokenizer" and _byte_level(raw):
        return None
    if declared is None:
        return _CLASSES.get(registered or "")
    if registered is not None and registered != declared:
        # Of Qwen2's folders it is known that some name a wrong class.
        declared = registered if config.get("model_type") == "qwen2" else declared
        return None if registered == _AS_IT_STANDS else _CLASSES.get(declared)
    return _CLASSES.get(declared)


def _byte_level(raw: JsonObject) -> bool:
    parts = [raw.get("pre_tokenizer") or {}, raw.get("decoder") or {}, raw.get("normalizer") or {}]
    return '"ByteLevel"' in str(parts).replace("'", '"')


def _llama(raw: JsonObject, settings: Mapping[str, Any], named: Mapping[str, str]) -> JsonObject:
    prefix = settings.get("add_prefix_space")
    prefix = True if prefix is None else bool(prefix)
    scheme = ("always" if settings.get("legacy") else "first") if prefix else "never"
    decoders = [_replace(_SPACE, " "), {"type": "ByteFallback"}, {"type": "Fuse"}]
    if prefix:
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {
        "model": _model(fuse_unk=True, byte_fallback=True),
        "normalizer": None,
        "pre_tokenizer": {"type": "Metaspace", "replacement": _SPACE, "prepend_scheme": scheme, "split": False},
        "decoder": {"type": "Sequence", "decoders": decoders},
    }


def _gemma(raw: JsonObject, settings: Mapping[str, Any], named: Mapping[str, str]) -> JsonObject:
    return {
        "model": _model(fuse_unk=True, byte_fallback=True) | {"unk_token": named.get("unk_token")},
        "normalizer": _replace(" ", _SPACE),
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"String": " "},
            "behavior": "MergedWithPrevious",
            "invert": False,
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [_replace(_SPACE, " "), {"type": "ByteFallback"}, {"type": "Fuse"}],
        },
    }


def _qwen2(raw: JsonObject, settings: Mapping[str, Any], named: Mapping[str, str]) -> JsonObject:
    split = {"type": "Split", "pattern": {"Regex": _QWEN_SPLIT}, "behavior": "Isolated", "invert": False}
    byte_level = _BYTE_LEVEL | {"add_prefix_space": bool(settings.get("add_prefix_space")), "use_regex": False}
    return {
        "model": _model() | {"continuing_subword_prefix": "", "end_of_word_suffix": ""},
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "decoder": _BYTE_LEVEL,
    }


def _gpt2(raw: JsonObject, settings: Mapping[str, Any], named: Mapping[str, str]) -> JsonObject:
    return {
        "model": _model() | {"continuing_subword_prefix": "", "end_of_word_suffix": ""},
        "normalizer": None,
        "pre_tokenizer": _BYTE_LEVEL | {"add_prefix_space": bool(settings.get("add_prefix_space"))},
        "decoder": _BYTE_LEVEL,
    }


def _replace(old: str, new: str) -> JsonObject:
    return {"type": "Replace", "pattern": {"String": old}, "content": new}


def _model(*, fuse_unk: bool = False, byte_fallback: bool = False) -> JsonObject:
    return {
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": fuse_unk,
        "byte_fallback": byte_fallback,
        "ignore_merges": False,
    }


_BYTE_LEVEL: JsonObject = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
_AS_IT_STANDS = "TokenizersBackend"
_OF_MODEL_TYPE = {
    "gemma": "GemmaTokenizer",
    "gemma2": "GemmaTokenizer",
    "gemma3": "GemmaTokenizer",
    "gemma3_text": "GemmaTokenizer",
    "gpt2": "GPT2Tokenizer",
    "mistral": _AS_IT_STANDS,
    "opt": "GPT2Tokenizer",
    "phi3": _AS_IT_STANDS,
    "qwen2": "Qwen2Tokenizer",
    "qwen3": "Qwen2Tokenizer",
}
"""Which class Transformers has for a model type of the families here; the others have none."""

_END_OF_TEXT = "<|endoftext|>"
_CLASSES = {
    made.name: made
    for made in (
        TokenizerClass("LlamaTokenizer", {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}, _llama),
        TokenizerClass(
            "GemmaTokenizer",
            {
                "unk_token": "<unk>",
                "bos_token": "<bos>",
                "eos_token": "<eos>",
                "pad_token": "<pad>",
                "mask_token": "<mask>",
            },
            _gemma,
        ),
        TokenizerClass(
            "Qwen2Tokenizer",
            {"unk_token": _END_OF_TEXT, "eos_token": _END_OF_TEXT, "pad_token": _END_OF_TEXT},
            _qwen2,
            adds_named=True,
        ),
        TokenizerClass(
            "GPT2Tokenizer", {"unk_token": _END_OF_TEXT, "bos_token": _END_OF_TEXT, "eos_token": _END_OF_TEXT}, _gpt2
        ),
    )
}
