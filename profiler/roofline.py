"""A profile without an iteration measured: from a decoder's shape and two speeds of its device.

Owns the formula. It does not know models' folders nor devices: `measure/device` reads the one and
times the other, `profile roofline` calls it.

Each part of an iteration takes as long as the slower of computing and reading (Williams, Waterman,
Patterson, "Roofline", CACM 52(4), 2009): matrices 2 operations a weight and token against reading
every weight once, attention 4 operations a head number and pair of tokens against reading the KV.
The five coefficients are then fitted to such iterations, and the error kept is what one straight
line loses against the roof, not against a device.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

from ..core.errors import InvalidProfile
from ..cost.schema import Profile
from ..cost.sweep_row import SweepRow
from .fit import fitted_profile

_PROMPTS = (16, 32, 64, 128, 256, 512, 1024, 2048)
_MEMBERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_CONTEXTS = (64, 256, 1024, 4096)
_BESIDE = (8, 64)


@dataclass(frozen=True, slots=True)
class Decoder:
    """Sizes of one layer, how many layers, the bytes of a number, and whether the feed-forward
    parts have a gate.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab_size: int
    number_bytes: int
    gated: bool = True

    @property
    def layer_weights(self) -> int:
        """Numbers in all layers' matrices: queries, keys, values, output, and two or three of the
        feed-forward part.
        """
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        return self.layers * (attention + (2 + self.gated) * self.hidden * self.intermediate)

    @property
    def head_weights(self) -> int:
        """Numbers of the matrix that makes logits."""
        return self.hidden * self.vocab_size

    @property
    def token_bytes(self) -> int:
        """KV of one token."""
        return 2 * self.layers * self.kv_heads * self.head_dim * self.number_bytes


@dataclass(frozen=True, slots=True)
class Speeds:
    """GB (10^9 bytes) a second that memory reads, 10^12 operations a second that matrices are
    multiplied with, and GB a second to the host and back (None: not known).

    Raises InvalidProfile for what is no speed.
    """

    copy_gbps: float
    gemm_tflops: float
    link_gbps: float | None = None

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InvalidProfile(f"{one.name} is {value!r}.", field=one.name, limit="a finite number above 0")


def iteration_ns(
    decoder: Decoder, speeds: Speeds, chunks: tuple[tuple[int, int], ...], jobs: int, contexts: int
) -> float:
    """Nanoseconds of an iteration under the roof: chunks of (tokens, context before), `jobs`
    decodes with `contexts` in sum.
    """
    tokens = jobs + sum(length for length, _ in chunks)
    total = _slower(decoder, speeds, decoder.layer_weights, decoder.layer_weights * tokens)
    total += _slower(decoder, speeds, decoder.head_weights, decoder.head_weights * (jobs + len(chunks)))
    pair_numbers = 2 * decoder.layers * decoder.heads * decoder.head_dim
    kv_numbers = decoder.token_bytes // decoder.number_bytes
    # a token of a chunk sees the context and, in the mean, half of the chunk
    pairs = sum(length * (before + (length + 1) / 2) for length, before in chunks)
    read = sum(before + length for length, before in chunks)
    total += _slower(decoder, speeds, kv_numbers * read, pair_numbers * pairs)
    return total + _slower(decoder, speeds, kv_numbers * contexts, pair_numbers * contexts)


def _slower(decoder: Decoder, speeds: Speeds, numbers_read: float, products: float) -> float:
    """Nanoseconds to read so many numbers or to multiply and add so many times, whichever takes
    longer.
    """
    return max(numbers_read * decoder.number_bytes / speeds.copy_gbps, 2 * products / (speeds.gemm_tflops * 1e3))


def roofline_profile(
    decoder: Decoder,
    speeds: Speeds,
    *,
    model_name: str,
    device: str,
    dtype: str,
    kv_tokens: int,
    max_context_tokens: int | None,
    measured: bool,
) -> Profile:
    """The estimated profile. `measured` says in its source whether the speeds were timed or given.
    Raises InvalidProfile.
    """
    how = "measured here" if measured else "as given"
    return fitted_profile(
        list(_rows(decoder, speeds)),
        model_name=model_name,
        device=device,
        dtype=dtype,
        kv_tokens=kv_tokens,
        token_bytes=decoder.token_bytes,
        links_gbps=(speeds.link_gbps, speeds.link_gbps),
        max_context_tokens=max_context_tokens,
        source=f"Estimated from speeds {how}: memory {speeds.copy_gbps:.4g} GB/s, matrices "
        f"{speeds.gemm_tflops:.4g} TFLOP/s. "
        "No iteration was measured; the error is the formula's against the estimate.",
    )


def _rows(decoder: Decoder, speeds: Speeds) -> Iterator[SweepRow]:
    shapes: list[tuple[tuple[tuple[int, int], ...], int, int]] = []
    for length in _PROMPTS:
        shapes += [(((length, before),), 0, 0) for before in (0, 2048)]
        shapes += [(((length, 0),), jobs, jobs * 256) for jobs in _BESIDE]
    shapes += [((), jobs, jobs * context) for jobs in _MEMBERS for context in _CONTEXTS]
    for chunks, jobs, contexts in shapes:
        yield SweepRow(chunks, jobs, contexts, max(round(iteration_ns(decoder, speeds, chunks, jobs, contexts)), 1))
