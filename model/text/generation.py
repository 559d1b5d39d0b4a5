"""How a model's makers want it to be sampled.

Owns the reading of generation_config.json but for its end tokens: what is obeyed as a default of
requests, and what a person is told of the rest. It imports no torch, because the door uses it.
`serving/tokenizers.py` calls it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import InvalidInput, InvalidModel
from ...core.sampling import SamplingParams
from ..model_json import Fields, read_json

log = logging.getLogger("skipjoin.model")

FILE = "generation_config.json"
_FIELDS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
_FILTERS = ("top_k", "top_p", "min_p")
_OBEYED = frozenset({*_FIELDS, "do_sample", "max_new_tokens", "stop_strings", "eos_token_id"})
_UNCHANGED: dict[str, tuple[Any, ...]] = {
    "typical_p": (1,),
    "length_penalty": (1,),
    "encoder_repetition_penalty": (1,),
    "num_beams": (1,),
    "num_beam_groups": (1,),
    "num_return_sequences": (1,),
    "guidance_scale": (1,),
    "top_h": (1,),
    "max_length": (20,),  # what older releases wrote without being asked
    "early_stopping": (False, "never"),
}
"""Values, beside null, false, 0 and nothing at all, by which a field asks for what is done anyway."""

WITHOUT_EFFECT = frozenset(
    {
        "bos_token_id", "pad_token_id", "decoder_start_token_id", "transformers_version", "_from_model_config",
        "_commit_hash",
        "use_cache", "cache_implementation", "cache_config", "max_cache_len", "compile_config", "disable_compile",
        "continuous_batching_config", "low_memory", "prefill_chunk_size", "remove_invalid_values", "renormalize_logits",
        "output_attentions", "output_hidden_states", "output_scores", "output_logits", "return_dict_in_generate",
        "is_assistant", "num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_confidence_threshold",
        "assistant_early_exit", "assistant_lookbehind", "target_lookbehind", "assistant_ensemble_weight",
        "speculation_type",
        "prompt_lookup_num_tokens", "max_matching_ngram_size", "use_mtp", "encoder_no_repeat_ngram_size",
        "trust_remote_code",
    }
)  # fmt: skip
"""Fields that change no token of a plain decode, or are the server's business: nobody is told."""


@dataclass(frozen=True, slots=True)
class Recommended:
    """What a request leaves out: its `sampling`, and the cap `max_new_tokens` (None: the file names
    none). `remarks`: what the file asks in vain.
    """

    sampling: SamplingParams
    max_new_tokens: int | None
    remarks: tuple[str, ...]


def sampling_defaults(folder: str | Path) -> SamplingParams:
    """Sampling of a request that says nothing about it; what the file asks in vain is logged.
    Raises InvalidModel naming the field.
    """
    found = recommended(folder)
    for remark in found.remarks:
        log.warning("%s", remark)
    return found.sampling


def recommended(folder: str | Path) -> Recommended:
    """As the file says where it says something, else the whole distribution at temperature 1.

    A file that says `do_sample: false` asks for the most likely token, whatever it says of filters;
    `top_p: 0` keeps that token alone. Raises InvalidModel naming the field.
    """
    raw = read_json(Path(folder), FILE, required=False)
    said: dict[str, Any] = {name: raw[name] for name in _FIELDS if raw.get(name) is not None}
    fields = Fields(raw, file=FILE, whole_floats=True)
    try:
        if raw.get("do_sample") is not None and not fields.flag("do_sample"):
            said = {name: value for name, value in said.items() if name not in _FILTERS} | {"temperature": 0.0}
        if type(said.get("top_p")) in (int, float) and said["top_p"] == 0:
            del said["top_p"]
            said["temperature"] = 0.0
        if "top_k" in said:
            # -1 and 0: both spellings of "no bound" are in use.
            said["top_k"] = max(0, fields.whole("top_k", -1, 2**20))
        if (stops := raw.get("stop_strings")) is not None:
            said["stop"] = _stops(stops)
        limit = fields.maybe_whole("max_new_tokens", 1, 2**31)
        sampling = SamplingParams(**said)
    except InvalidModel:
        raise
    except InvalidInput as error:
        raise InvalidModel(f"{FILE}: {error.message}", field=error.field, limit=error.limit) from None
    return Recommended(sampling, limit, tuple(_remarks(raw)))


def _stops(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list):
        raise InvalidInput("stop_strings must be a text or a list of them.", field="stop_strings")
    return tuple(stops)


def _remarks(raw: dict[str, Any]) -> list[str]:
    vain = sorted(name for name, value in raw.items() if _asks(name, value))
    if not vain:
        return []
    shown = ", ".join(name[:64] for name in vain[:16])
    return [f"{FILE}: without effect: {shown}. A request says what it wants by the fields of the API."]


def _asks(name: str, value: Any) -> bool:
    """Whether a field asks for what is not done."""
    if name in _OBEYED or name in WITHOUT_EFFECT or value in (None, False, 0, "", [], {}):
        return False
    return not any(value == same for same in _UNCHANGED.get(name, ()))
