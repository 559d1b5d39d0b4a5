"""How the next token of a job is chosen and when the job stops.

Owns `SamplingParams` and every bound on its fields. It does not know the model: what depends on the
vocabulary is checked by `check_vocabulary`. The SDK, the door, the executor's sampler and
`skipjoin.LLM` use it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .errors import InvalidInput

MAX_STOP_STRINGS = 16
MAX_STOP_BYTES = 256
MAX_STOP_IDS = 64
MAX_LOGPROBS = 20
MAX_SEED = 2**63 - 1
MAX_NEW_TOKENS = 2**20
_FINITE = 1e300
_SHOWN = 10**20


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """Sampling and stopping of one job.

    `temperature` 0 is greedy. `top_k` 0, `top_p` 1 and `min_p` 0 switch a filter off;
    `repetition_penalty` 1 and the other two penalties 0 do nothing. `seed` None lets the door draw
    one and store it; a draw depends on the job's seed and the token's position only.
    `max_new_tokens` None becomes min(context, KV pool) - prompt, capped by a setting. `logprobs`
    None sends none, k sends the chosen token's and the k best. `stop` strings end the text before
    them; `stop_token_ids` and, unless `ignore_eos`, the model's end tokens end the job and are
    counted but not shown.

    Raises InvalidInput naming the field and its limit.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    max_new_tokens: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None

    def __post_init__(self) -> None:
        _real("temperature", self.temperature, 0.0, 100.0)
        _whole("top_k", self.top_k, 0, 2**20)
        _real("top_p", self.top_p, 0.0, 1.0, open_low=True)
        _real("min_p", self.min_p, 0.0, 1.0)
        _real("repetition_penalty", self.repetition_penalty, 0.0, 10.0, open_low=True)
        _real("presence_penalty", self.presence_penalty, -2.0, 2.0)
        _real("frequency_penalty", self.frequency_penalty, -2.0, 2.0)
        if self.seed is not None:
            _whole("seed", self.seed, 0, MAX_SEED)
        if self.max_new_tokens is not None:
            _whole("max_new_tokens", self.max_new_tokens, 1, MAX_NEW_TOKENS)
        if self.logprobs is not None:
            _whole("logprobs", self.logprobs, 0, MAX_LOGPROBS)
        stop: object = self.stop
        if isinstance(stop, str):
            raise InvalidInput("stop must be a list of strings, not one string.", field="stop")
        object.__setattr__(self, "stop", tuple(self.stop))
        object.__setattr__(self, "stop_token_ids", tuple(self.stop_token_ids))
        if len(self.stop) > MAX_STOP_STRINGS:
            raise InvalidInput(f"stop has {len(self.stop)} strings.", field="stop", limit=f"at most {MAX_STOP_STRINGS}")
        for text in self.stop:
            if not isinstance(text, str) or not 1 <= _utf8_bytes(text) <= MAX_STOP_BYTES:
                raise InvalidInput(
                    "Each stop string must have 1 to 256 bytes of UTF-8.",
                    field="stop",
                    limit=f"1..{MAX_STOP_BYTES} bytes",
                )
        if len(self.stop_token_ids) > MAX_STOP_IDS:
            raise InvalidInput("Too many stop token ids.", field="stop_token_ids", limit=f"at most {MAX_STOP_IDS}")
        for token in self.stop_token_ids:
            _whole("stop_token_ids", token, 0, 2**31 - 1)

    @classmethod
    def stored(cls, values: dict[str, Any]) -> SamplingParams:
        """Those that were checked before they were stored, from their fields; one that is missing
        has its default. Nothing is checked again.
        """
        made = object.__new__(cls)
        for name, value in (_DEFAULTS | values).items():
            object.__setattr__(made, name, tuple(value) if isinstance(value, list) else value)
        return made

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is taken without a draw."""
        return self.temperature == 0.0 or self.top_k == 1

    def check_vocabulary(self, vocab_size: int) -> None:
        """Raise InvalidInput when a stop id is not a token of a vocabulary of `vocab_size`."""
        for token in self.stop_token_ids:
            if token >= vocab_size:
                raise InvalidInput(
                    f"stop_token_ids holds {token}, which is no token of this model.",
                    field="stop_token_ids",
                    limit=f"0..{vocab_size - 1}",
                )


def _utf8_bytes(text: str) -> int:
    """Length as UTF-8; 0 for text with half a surrogate pair, which JSON can spell and no wire can
    carry.
    """
    try:
        return len(text.encode("utf-8"))
    except UnicodeEncodeError:
        return 0


def _real(field: str, value: float, low: float, high: float, *, open_low: bool = False) -> None:
    bounds = f"{'above' if open_low else 'from'} {low:g} to {high:g}"
    # Compared, not converted: a whole number may be beyond the floats.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -_FINITE < value < _FINITE:
        raise InvalidInput(f"{field} must be a finite number.", field=field, limit=bounds)
    if not low <= value <= high or (open_low and value == low):
        raise InvalidInput(f"{field} is {value:g}; it must be {bounds}.", field=field, limit=bounds)


def _whole(field: str, value: int, low: int, high: int) -> None:
    bounds = f"{low}..{high}"
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInput(f"{field} must be a whole number.", field=field, limit=bounds)
    if not low <= value <= high:
        shown = value if -_SHOWN < value < _SHOWN else "a number of many digits"
        raise InvalidInput(f"{field} is {shown}; it must be in {bounds}.", field=field, limit=bounds)


_DEFAULTS = asdict(SamplingParams())
