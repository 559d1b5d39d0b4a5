"""Which tokenizer a server has.

Owns the choice between a model's own tokenizer and the byte tokenizer of the simulated executor. It knows no format; executor/tokenizer reads
the model's. Door and engine process both call it: the door for text, the engine for stop strings.
"""

from __future__ import annotations

from .settings import ServeSettings
from .text import ByteTokenizer, Tokenizer


def tokenizer_for(settings: ServeSettings) -> Tokenizer:
    """The tokenizer of `settings.model`. Raises InvalidModel."""
    if settings.model is None:
        return ByteTokenizer()
    from ..executor.tokenizer import ModelTokenizer

    return ModelTokenizer(settings.model)
