"""skipjoin: a preemptive LLM inference server.

Owns the package's public names and its version. It imports nothing when it is imported: `LLM` and
`SamplingParams` load when they are first asked for, so that `skipjoin --help` and the client never
pay for torch. Users and `cli.py` import it; no package below does.
"""

__version__ = "0.1.0"

__all__ = ["LLM", "SamplingParams", "__version__"]


def __getattr__(name: str) -> object:
    if name == "LLM":
        try:
            from .serving.llm import LLM
        except ModuleNotFoundError as missing:
            if missing.name != f"{__name__}.serving":
                raise
            raise ImportError("skipjoin-client has no LLM, which computes: install skipjoin.") from None

        return LLM
    if name == "SamplingParams":
        from .core.sampling import SamplingParams

        return SamplingParams
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
