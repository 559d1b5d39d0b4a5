"""The SDK of skipjoin: submit jobs, follow their tokens, cancel them.

`AsyncClient` and `Client` do the same things, one with asyncio and one without. This package
imports grpc and protobuf, never torch or numpy.
"""

from __future__ import annotations

from ..core.sampling import SamplingParams
from ..core.view import ChatMessage, Chunk, JobEvent, JobList, JobView
from .aio import AsyncClient, AsyncGeneration
from .completion import Completion
from .connection import DEFAULT_TARGET, TlsParams
from .retry import RetryParams
from .sync import Client, Generation

__all__ = [
    "DEFAULT_TARGET",
    "AsyncClient",
    "AsyncGeneration",
    "ChatMessage",
    "Chunk",
    "Client",
    "Completion",
    "Generation",
    "JobEvent",
    "JobList",
    "JobView",
    "RetryParams",
    "SamplingParams",
    "TlsParams",
]
