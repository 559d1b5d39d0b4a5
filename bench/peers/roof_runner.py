"""What the machine allows, behind JSON lines: the model's linear layers alone, and reading its weights alone.

Owns the questions; profiler/measure times. `engine` starts it as a process beside those that decode.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...profiler.measure.roof import LinearRoof
from .talk import serve


class Roofs:
    """A loaded model's."""

    def __init__(self) -> None:
        self._roof: LinearRoof | None = None

    def load(self, asked: dict[str, Any]) -> Mapping[str, Any]:
        """Load the folder in a precision on the CPU, the only place that this roof is of."""
        self._roof = LinearRoof(asked["model"], asked["dtype"], asked["threads"])
        return {"versions": self._roof.versions()}

    def linear(self, asked: dict[str, Any]) -> Mapping[str, Any]:
        """Time of one step of `rows` tokens, of a prompt pass over `prompt_rows`, and of reading the weights once."""
        assert self._roof is not None, "loaded first"
        return {
            "step_ns": self._roof.step_ns(asked["rows"]),
            "prompt_ns": self._roof.prompt_ns(asked["prompt_rows"], asked["rows"]),
            "read_ns": self._roof.read_ns(),
        }


def main() -> None:
    """Serve until the input ends."""
    roofs = Roofs()
    serve({"load": roofs.load, "linear": roofs.linear})


if __name__ == "__main__":
    main()
