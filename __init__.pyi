"""What type checkers see of the lazy names in `__init__.py`."""

from .core.sampling import SamplingParams as SamplingParams
from .serving.llm import LLM as LLM

__version__: str
__all__ = ["LLM", "SamplingParams", "__version__"]
