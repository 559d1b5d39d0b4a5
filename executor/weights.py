"""A model's tensors, fused and laid out for the device they run on.

Owns `ModelWeights` and the way from a checkpoint to it: query, key and value become one product, gate and up another. It does not compute
anything with them; the decoder does. Every tensor of the folder must be one that the architecture knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..core.errors import InvalidInput, InvalidModel
from ..kernels.linear import Linear
from .architectures import Architecture
from .checkpoint import Checkpoint
from .config import ModelConfig, load_config

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One layer. `qkv` gives [q heads | k heads | v heads] * head_dim, `gate_up` gives [gate | up]."""

    attention_norm: Tensor
    qkv: Linear
    attention_out: Linear
    mlp_norm: Tensor
    gate_up: Linear
    down: Linear


@dataclass(frozen=True, slots=True)
class ModelWeights:
    """embedding[vocab, hidden], the layers, the last norm and the head (hidden -> vocab)."""

    embedding: Tensor
    layers: tuple[LayerWeights, ...]
    final_norm: Tensor
    head: Linear


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready to run: what `load_model` gives and `TorchExecutor` takes."""

    config: ModelConfig
    weights: ModelWeights
    device: torch.device
    dtype: torch.dtype


def parse_dtype(name: str) -> torch.dtype:
    """Raises InvalidInput naming the known precisions."""
    if name not in DTYPES:
        raise InvalidInput(f"The precision {name[:40]!r} is not known.", field="dtype", limit=", ".join(DTYPES))
    return DTYPES[name]


def parse_device(name: str) -> torch.device:
    """Raises InvalidInput for a device that this machine does not have."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InvalidInput(
            f"The device {name[:40]!r} is not known.", field="device", limit="cpu, cuda or cuda:N"
        ) from error
    if device.type not in ("cpu", "cuda"):
        raise InvalidInput(f"The device {name[:40]!r} is not supported.", field="device", limit="cpu, cuda or cuda:N")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise InvalidInput("This machine has no usable CUDA device.", field="device", limit="cpu")
        device = torch.device("cuda", device.index if device.index is not None else torch.cuda.current_device())
        if device.index >= torch.cuda.device_count():
            raise InvalidInput(
                f"There is no CUDA device {device.index}.",
                field="device",
                limit=f"cuda:0..{torch.cuda.device_count() - 1}",
            )
    return device


def load_model(
    folder: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype | str = "float32"
) -> LoadedModel:
    """Load a Hugging Face folder of a known architecture.

    Raises InvalidModel for a folder that cannot or must not be loaded, InvalidInput for an unknown device or precision.
    """
    device = parse_device(device) if isinstance(device, str) else device
    dtype = parse_dtype(dtype) if isinstance(dtype, str) else dtype
    path = Path(folder)
    config = load_config(path)
    checkpoint = Checkpoint(path)
    assembler = _Assembler(config, checkpoint, device, dtype)
    weights = assembler.assemble()
    assembler.refuse_unknown()
    return LoadedModel(config, weights, device, dtype)


class _Assembler:
    """Reads what the config implies, tensor by tensor, and remembers what it has used."""

    def __init__(self, config: ModelConfig, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> None:
        self._config = config
        self._checkpoint = checkpoint
        self._device = device
        self._dtype = dtype
        self._used: set[str] = set()

    def assemble(self) -> ModelWeights:
        config, names = self._config, self._config.architecture
        embedding = self._tensor(f"{names.embedding}.weight", (config.vocab_size, config.hidden))
        head_name = f"{names.head}.weight"
        if config.tied_embeddings:
            head = Linear(embedding)
            self._used.add(head_name)
        else:
            head = Linear(self._tensor(head_name, (config.vocab_size, config.hidden)))
        return ModelWeights(
            embedding=embedding,
            layers=tuple(self._layer(names, i) for i in range(config.layers)),
            final_norm=self._tensor(f"{names.final_norm}.weight", (config.hidden,)),
            head=head,
        )

    def _layer(self, names: Architecture, i: int) -> LayerWeights:
        config = self._config
        queries, keys = config.heads * config.head_dim, config.kv_heads * config.head_dim
        qkv = [(names.query, queries), (names.key, keys), (names.value, keys)]
        gate_up = [(names.gate, config.intermediate), (names.up, config.intermediate)]
        return LayerWeights(
            attention_norm=self._tensor(f"{names.attention_norm}.weight".format(i=i), (config.hidden,)),
            qkv=self._linear(qkv, config.hidden, i, bias=config.attention_bias),
            attention_out=self._linear([(names.attention_out, config.hidden)], queries, i, bias=config.attention_bias),
            mlp_norm=self._tensor(f"{names.mlp_norm}.weight".format(i=i), (config.hidden,)),
            gate_up=self._linear(gate_up, config.hidden, i, bias=config.mlp_bias),
            down=self._linear([(names.down, config.hidden)], config.intermediate, i, bias=config.mlp_bias),
        )

    def _linear(self, parts: Sequence[tuple[str, int]], inputs: int, i: int, *, bias: bool) -> Linear:
        """One product out of parts (name, outputs) that share their input."""
        weight = torch.cat([self._tensor(f"{name}.weight".format(i=i), (outputs, inputs)) for name, outputs in parts])
        biases = (
            torch.cat([self._tensor(f"{name}.bias".format(i=i), (outputs,)) for name, outputs in parts])
            if bias
            else None
        )
        return Linear(weight, biases)

    def _tensor(self, name: str, shape: tuple[int, ...]) -> Tensor:
        self._used.add(name)
        return self._checkpoint.read(name, shape).to(device=self._device, dtype=self._dtype)

    def refuse_unknown(self) -> None:
        """A tensor that nobody used means another model than config.json says."""
        ignored = self._config.architecture.ignored
        unknown = sorted(name for name in self._checkpoint.names - self._used if not name.endswith(ignored))
        if unknown:
            raise InvalidModel(
                f"The weights hold {len(unknown)} tensors that config.json does not explain, the first is {unknown[0][:200]}.",
                field=unknown[0][:200],
            )
