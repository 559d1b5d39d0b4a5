"""Which kernels are measured on which shapes: the files of `shapes/`, one for a CPU, one for a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ...scenario_file import CaseName, Cases, ScenarioPart, chosen, read_scenario

FOLDER = Path(__file__).parent / "shapes"
TUNED = "tune.toml"
"""The batches that `--tune` measures on."""

KERNELS = ("attention", "write", "norm", "gate", "staging", "move", "sampling", "linear")
FORMS = {"gate": (None, "silu", "gelu"), "norm": (None, "rms", "layer")}
NEEDS = {"attention": "sequences", "staging": "pages", "move": "pages"}
"""Kernel -> the field that its case has; all others have `rows`."""

Size = Annotated[int, Field(ge=1, le=1 << 20)]
Layers = Annotated[int, Field(ge=1, le=1024)]


class ModelShape(ScenarioPart):
    """The decoder whose kernels are measured.

    `pool_layers` of its `layers` are laid out, enough for a page to be as scattered as in use.
    """

    heads: Size
    kv_heads: Size
    head_dim: Annotated[int, Field(ge=2, le=512, multiple_of=2)]
    hidden: Size
    intermediate: Size
    vocab_size: Annotated[int, Field(ge=2, le=1 << 22)]
    layers: Layers
    pool_layers: Layers = 2
    page_tokens: Annotated[int, Field(ge=1, le=1024)] = 16

    @model_validator(mode="after")
    def _groups(self) -> ModelShape:
        if self.heads % self.kv_heads:
            raise ValueError("heads: a multiple of kv_heads")
        return self


class Sequences(ScenarioPart):
    """`count` sequences alike: the last `queries` of `context` tokens are computed; one query is a
    decode.
    """

    count: Annotated[int, Field(ge=1, le=4096)]
    queries: Size = 1
    context: Size

    @model_validator(mode="after")
    def _inside(self) -> Sequences:
        if self.queries > self.context:
            raise ValueError("queries: at most context")
        return self


class Case(ScenarioPart):
    """One kernel on one shape; `form` of a gate (default silu) or of a norm (default rms)."""

    name: CaseName
    kernel: Literal["attention", "write", "norm", "gate", "staging", "move", "sampling", "linear"]
    sequences: tuple[Sequences, ...] = ()
    rows: Size | None = None
    pages: Size | None = None
    form: Literal["silu", "gelu", "rms", "layer"] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Case:
        if self.form not in FORMS.get(self.kernel, (None,)):
            raise ValueError(f"form: of a gate silu or gelu, of a norm rms or layer, of {self.kernel} not {self.form}")
        wanted = NEEDS.get(self.kernel, "rows")
        if [name for name in ("sequences", "rows", "pages") if getattr(self, name)] != [wanted]:
            raise ValueError(f"{wanted}: {self.kernel} needs that and nothing else")
        return self

    @property
    def size(self) -> int:
        """Its rows or pages."""
        size = self.rows or self.pages
        assert size is not None, "attention has sequences"
        return size


class KernelScenario(ScenarioPart):
    """A file of `shapes/`."""

    title: str
    model: ModelShape
    cases: Cases[Case]

    def only(self, word: str | None) -> KernelScenario:
        """The cases of that kernel or whose name holds the word; None: all. Raises InvalidSettings."""
        return self.model_copy(update={"cases": chosen(self.cases, word, lambda case: case.kernel)})


def load_shapes(path: Path) -> KernelScenario:
    """Read a file of shapes. Raises InvalidSettings naming file and field."""
    return read_scenario(path, KernelScenario)
