"""The model families that can be loaded: a file each, a row in it.

A family is one more file and one more line here. A part that no family has had is a class more,
which the row names. registry.py lists the rows; docs/models.md is the same table for people.
"""

from __future__ import annotations

from .gemma import GEMMA
from .gemma2 import GEMMA2
from .gemma3 import GEMMA3, GEMMA3_WITH_IMAGES
from .gpt2 import GPT2
from .llama import LLAMA
from .mistral import MISTRAL
from .olmo2 import OLMO2
from .opt import OPT
from .phi3 import PHI3
from .qwen2 import QWEN2
from .qwen3 import QWEN3

FAMILIES = (LLAMA, MISTRAL, QWEN2, QWEN3, PHI3, GEMMA, GEMMA2, GEMMA3, GEMMA3_WITH_IMAGES, OLMO2, GPT2, OPT)
