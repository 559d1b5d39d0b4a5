"""What OpenAI's two calls take: every field of their bodies, by the name that callers write.

Owns which fields there are, of what type, which are known and without effect, and which are taken
only with a value that changes nothing. Bounds of numbers are those of `SamplingParams` and of the
intake, which say them in their own sentences: such a field is declared here and not checked here
(SkipValidation). `request.py` makes jobs of the values; `../openapi.py` publishes the schemas;
docs/wire.md has a table of the fields.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, PlainValidator, SkipValidation, WithJsonSchema, model_validator
from pydantic.config import JsonDict

from ....core.sampling import MAX_LOGPROBS, MAX_NEW_TOKENS, MAX_SEED
from .conversation import Messages, conversation
from .rules import FirstFault, Ignored, Only, RequestSchema, Sentence, Unfit, unpointed

Whole = Annotated[int, BeforeValidator(unpointed), Sentence("{field} must be a whole number.")]
"""A whole number, which may be written with a point."""
Real = Annotated[float, SkipValidation]
Count = Annotated[int, SkipValidation, BeforeValidator(unpointed)]


def _within(low: float, high: float, *, above: bool = False) -> JsonDict:
    """A bound to publish; `above`: `low` itself is out. A test tries both ends of each."""
    return {"exclusiveMinimum" if above else "minimum": low, "maximum": high}


def _sole(value: Any) -> Any:
    """The prompt of a list of one prompt."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], (str, list)):
        return value[0]
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Unfit("{field} must be a list.")
    return value


def _stops(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) else _list(value)


def _ids(value: Any) -> list[Any]:
    return [unpointed(token) for token in _list(value)]


_IDS = {"type": "array", "items": {"type": "integer"}}
Prompt = Annotated[
    str | Annotated[list[int], FirstFault()],
    BeforeValidator(_sole),
    Sentence("{field} must be one string or one list of token ids; several need a request each."),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                _IDS,
                {"type": "array", "minItems": 1, "maxItems": 1, "items": {"anyOf": [{"type": "string"}, _IDS]}},
            ]
        }
    ),
]
Stops = Annotated[
    list[str],
    SkipValidation,
    BeforeValidator(_stops),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]


class StreamOptions(RequestSchema):
    """How a stream looks."""

    sentence: ClassVar[str] = "{field} is an object that goes with stream: true."

    include_usage: bool | None = Field(None, description="A last chunk with the tokens used")
    include_obfuscation: Annotated[bool | None, Only(False, flag=True)] = None
    continuous_usage_stats: Annotated[bool | None, Only(False, flag=True)] = None


class _Request(RequestSchema):
    """The fields that both calls take."""

    model: str | None = Field(None, description="One of the names that /v1/models lists; left out: the first of them")
    stream: bool | None = Field(None, description="The answer comes as server-sent events")
    stream_options: StreamOptions | None = None
    temperature: Real | None = Field(
        None, description="0 takes the most likely token", json_schema_extra=_within(0, 100)
    )
    top_p: Real | None = Field(None, json_schema_extra=_within(0, 1, above=True))
    top_k: Count | None = Field(
        None, description="0 or -1 switches the filter off", json_schema_extra=_within(-1, 2**20)
    )
    min_p: Real | None = Field(None, json_schema_extra=_within(0, 1))
    repetition_penalty: Real | None = Field(None, json_schema_extra=_within(0, 10, above=True))
    presence_penalty: Real | None = Field(None, json_schema_extra=_within(-2, 2))
    frequency_penalty: Real | None = Field(None, json_schema_extra=_within(-2, 2))
    seed: Count | None = Field(None, json_schema_extra=_within(0, MAX_SEED))
    max_completion_tokens: Count | None = Field(
        None, description="Our max_new_tokens; goes before max_tokens", json_schema_extra=_within(1, MAX_NEW_TOKENS)
    )
    max_tokens: Count | None = Field(
        None, description="Our max_new_tokens", json_schema_extra=_within(1, MAX_NEW_TOKENS)
    )
    stop: Stops | None = Field(None, description="The answer ends before the first of these strings")
    stop_token_ids: Annotated[list[int], SkipValidation, BeforeValidator(_ids)] | None = None
    ignore_eos: bool | None = Field(None, description="The model's end tokens do not end the answer")
    priority: Whole | None = Field(
        None,
        description="Smaller is more urgent; the policy of that name reads it",
        json_schema_extra=_within(-100, 100),
    )

    # taken, and without effect
    cache_salt: Ignored = None
    include_reasoning: Ignored = None
    metadata: Ignored = None
    parallel_tool_calls: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_retention: Ignored = None
    request_id: Ignored = None
    safety_identifier: Ignored = None
    service_tier: Ignored = None
    store: Ignored = None
    user: Ignored = None
    verbosity: Ignored = None

    # taken with a value that changes nothing
    n: Annotated[Any, Only(1)] = None
    best_of: Annotated[Any, Only(1)] = None
    echo: Annotated[Any, Only(False)] = None
    suffix: Annotated[Any, Only("")] = None
    logit_bias: Annotated[Any, Only({})] = None
    tools: Annotated[Any, Only([])] = None
    tool_choice: Annotated[Any, Only("none", "auto")] = None
    functions: Annotated[Any, Only([])] = None
    function_call: Annotated[Any, Only("none", "auto")] = None
    audio: Annotated[Any, Only()] = None
    prediction: Annotated[Any, Only()] = None
    web_search_options: Annotated[Any, Only()] = None
    moderation: Annotated[Any, Only()] = None
    reasoning_effort: Annotated[Any, Only("none")] = None
    modalities: Annotated[Any, Only(["text"])] = None
    response_format: Annotated[Any, Only({"type": "text"})] = None
    # the same, as clients of vLLM send them
    add_generation_prompt: Annotated[Any, Only(True)] = None
    allowed_token_ids: Annotated[Any, Only()] = None
    bad_words: Annotated[Any, Only([])] = None
    chat_template: Annotated[Any, Only()] = None
    chat_template_kwargs: Annotated[Any, Only({})] = None
    continue_final_message: Annotated[Any, Only(False)] = None
    documents: Annotated[Any, Only()] = None
    guided_choice: Annotated[Any, Only()] = None
    guided_grammar: Annotated[Any, Only()] = None
    guided_json: Annotated[Any, Only()] = None
    guided_regex: Annotated[Any, Only()] = None
    include_stop_str_in_output: Annotated[Any, Only(False)] = None
    kv_transfer_params: Annotated[Any, Only()] = None
    length_penalty: Annotated[Any, Only(1)] = None
    logits_processors: Annotated[Any, Only([])] = None
    min_tokens: Annotated[Any, Only(0)] = None
    mm_processor_kwargs: Annotated[Any, Only({})] = None
    prompt_embeds: Annotated[Any, Only()] = None
    prompt_logprobs: Annotated[Any, Only()] = None
    return_token_ids: Annotated[Any, Only(False)] = None
    return_tokens_as_token_ids: Annotated[Any, Only(False)] = None
    skip_special_tokens: Annotated[Any, Only(True)] = None
    spaces_between_special_tokens: Annotated[Any, Only(True)] = None
    structured_outputs: Annotated[Any, Only()] = None
    truncate_prompt_tokens: Annotated[Any, Only()] = None
    use_beam_search: Annotated[Any, Only(False)] = None
    vllm_xargs: Annotated[Any, Only({})] = None

    @model_validator(mode="after")
    def _usage_of_a_stream(self) -> Self:
        if self.stream_options is not None and self.stream_options.include_usage and not self.stream:
            raise Unfit(StreamOptions.sentence, "stream_options")
        return self


class CompletionRequest(_Request):
    """The body of `/v1/completions`."""

    prompt: Prompt
    logprobs: Whole | None = Field(
        None,
        description="Log-probabilities of the chosen token and of so many of the best",
        json_schema_extra=_within(0, MAX_LOGPROBS),
    )
    # What a text begins with is the tokenizer's.
    add_special_tokens: Annotated[Any, Only(True)] = None

    @property
    def best_shown(self) -> int | None:
        """`logprobs` itself."""
        return self.logprobs


class ChatCompletionRequest(_Request):
    """The body of `/v1/chat/completions`."""

    # A tuple of ChatMessage. Said here, it would be published beside what callers write.
    messages: Annotated[Any, PlainValidator(conversation, json_schema_input_type=Messages)]
    logprobs: bool | None = Field(None, description="Log-probabilities of the chosen token")
    top_logprobs: Whole | None = Field(
        None, description="With logprobs, those of so many of the best too", json_schema_extra=_within(0, MAX_LOGPROBS)
    )
    # The template writes a conversation's special tokens.
    add_special_tokens: Annotated[Any, Only(False)] = None

    @model_validator(mode="after")
    def _best_of_shown(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise Unfit("{field} needs logprobs: true.", "top_logprobs")
        return self

    @property
    def best_shown(self) -> int | None:
        """`top_logprobs` where `logprobs` are asked for."""
        return (self.top_logprobs or 0) if self.logprobs else None
