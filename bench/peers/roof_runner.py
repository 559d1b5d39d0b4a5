"""What the machine allows, behind JSON lines: linear layers, reading the weights."""

from __future__ import annotations

from ...profiler.measure.roof import LinearRoof
from .talk import Answer, Asked, serve


def main() -> None:
    """Serve until the input ends. On the CPU, the only place that this roof is of."""
    roofs: list[LinearRoof] = []

    def load(asked: Asked) -> Answer:
        roofs.append(LinearRoof(asked["model"], asked["dtype"], asked["threads"]))
        return {"versions": roofs[-1].versions()}

    def linear(asked: Asked) -> Answer:
        roof, rows = roofs[-1], asked["rows"]
        step_ns, prompt_ns = roof.step_ns(rows), roof.prompt_ns(asked["prompt_rows"], rows)
        return {"step_ns": step_ns, "prompt_ns": prompt_ns, "read_ns": roof.read_ns()}

    serve({"load": load, "linear": linear})


if __name__ == "__main__":
    main()
