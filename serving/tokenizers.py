"""Which tokenizer and which defaults of requests a server has.

Owns the choice between what a model brings and what stands in for it beside the simulated executor.
It knows no format; executor/ reads the model's files. Door and engine process both call it: the
door for text, the engine for stop strings.
"""

from __future__ import annotations

from ..core.sampling import SamplingParams
from .door.text import ByteTokenizer, Tokenizer
from .settings import ServeSettings


def tokenizer_for(settings: ServeSettings) -> Tokenizer:
    """The tokenizer of `settings.model`. Raises InvalidModel."""
    if settings.folder is None:
        return ByteTokenizer()
    from ..model.text.renderer import RenderBounds
    from ..model.text.tokenizer import ModelTokenizer

    return ModelTokenizer(settings.folder, RenderBounds(settings.template_time_s, settings.template_memory_bytes))


def defaults_for(settings: ServeSettings) -> SamplingParams:
    """What a request leaves out of its sampling. Raises InvalidModel."""
    if settings.folder is None:
        return SamplingParams()
    from ..model.text.generation import sampling_defaults

    return sampling_defaults(settings.folder)


def output_cap_for(settings: ServeSettings) -> int:
    """Cap of `max_new_tokens` where a request leaves it out: the setting where it was made, else
    the model's, else the setting's default.

    Raises InvalidModel.
    """
    if settings.folder is None or "default_max_new_tokens" in settings.model_fields_set:
        return settings.default_max_new_tokens
    from ..model.text.generation import recommended

    found = recommended(settings.folder).max_new_tokens
    return settings.default_max_new_tokens if found is None else found
