"""Norms: what stands between the stream of the layers and what reads or feeds it.

Owns the port `Norm`, its forms, and what each needs of the kernels. It does not know where a norm
stands; layers do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

from torch import Tensor

from ...kernels.decoder_shape import NormForm
from ...kernels.dispatch import Kernels
from .tensors import Tensors


@runtime_checkable
class Norm(Protocol):
    """A norm of rows, alone or fused with the sum in front of it."""

    def form(self) -> NormForm | None:
        """What the compiler of kernels must know of it; None: no kernel computes it."""
        ...

    def of(self, kernels: Kernels, x: Tensor) -> Tensor:
        """The norm of x[n, width]. x stays as it is and may be the result."""
        ...

    def of_sum_(self, kernels: Kernels, x: Tensor, residual: Tensor) -> Tensor:
        """The norm of residual + x, which `residual` becomes."""
        ...


@dataclass(frozen=True, slots=True)
class AsItIs:
    """No norm: the stream is read as it is."""

    def form(self) -> None:
        """There is no kernel."""

    def of(self, kernels: Kernels, x: Tensor) -> Tensor:
        """x."""
        return x

    def of_sum_(self, kernels: Kernels, x: Tensor, residual: Tensor) -> Tensor:
        """residual + x."""
        return residual.add_(x)


@dataclass(frozen=True, slots=True)
class RmsNorm:
    """x / rms(x) * w (Zhang and Sennrich 2019). A float32 weight beside a half precision is applied
    before the result is rounded.
    """

    weight: Tensor
    eps: float

    @classmethod
    def read(cls, tensors: Tensors, name: str, width: int, eps: float) -> Self:
        """Of the tensor name.weight."""
        return cls(tensors.tensor(f"{name}.weight", (width,)), eps)

    def form(self) -> NormForm:
        """As the port says."""
        return NormForm("rms", len(self.weight), biased=False, weight_dtype=self.weight.dtype)

    def of(self, kernels: Kernels, x: Tensor) -> Tensor:
        """As the port says."""
        return kernels.rms_norm(x, self.weight, self.eps)

    def of_sum_(self, kernels: Kernels, x: Tensor, residual: Tensor) -> Tensor:
        """As the port says."""
        return kernels.add_rms_norm_(x, residual, self.weight, self.eps)


class WideRmsNorm(RmsNorm):
    """The weight stays in float32, and is applied before the result is rounded (OLMo 2)."""

    __slots__ = ()

    @classmethod
    def read(cls, tensors: Tensors, name: str, width: int, eps: float) -> Self:
        """As `RmsNorm.read`."""
        return cls(tensors.tensor(f"{name}.weight", (width,), wide=True), eps)


class OffsetRmsNorm(RmsNorm):
    """The weight is 1 + w (Gemma). In a half precision that would lose most of what w says, so that
    it stays in float32.
    """

    __slots__ = ()

    @classmethod
    def read(cls, tensors: Tensors, name: str, width: int, eps: float) -> Self:
        """As `RmsNorm.read`."""
        return cls(tensors.tensor(f"{name}.weight", (width,), wide=True) + 1, eps)


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """To mean 0 and variance 1, times w, plus a bias (Ba et al. 2016)."""

    weight: Tensor
    bias: Tensor | None
    eps: float

    @classmethod
    def read(cls, tensors: Tensors, name: str, width: int, eps: float) -> Self:
        """Of the tensors name.bias and name.weight."""
        bias = tensors.tensor(f"{name}.bias", (width,))
        return cls(tensors.tensor(f"{name}.weight", (width,)), bias, eps)

    def form(self) -> NormForm:
        """As the port says."""
        biased = self.bias is not None
        return NormForm("layer", len(self.weight), biased=biased, weight_dtype=self.weight.dtype)

    def of(self, kernels: Kernels, x: Tensor) -> Tensor:
        """As the port says."""
        return kernels.layer_norm(x, self.weight, self.bias, self.eps)

    def of_sum_(self, kernels: Kernels, x: Tensor, residual: Tensor) -> Tensor:
        """As the port says."""
        return kernels.add_layer_norm_(x, residual, self.weight, self.bias, self.eps)
