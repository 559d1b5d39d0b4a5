"""An offline comparison as lines for a person.

Owns labels, rounding and the words of a verdict. It computes nothing that is not in the study; the command calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from ..figures import Spread
from ..machine import MachineFacts
from ..table import DASH, grid
from .figures import Roof, Run, Study


def print_head(study: Study, facts: MachineFacts, device: str, model: str) -> None:
    """What is measured, on what; `device`: as it calls itself; `model`: the preset or the folder."""
    scenario = study.scenario
    print(facts.sentence() if scenario.device == "cpu" else f"{device}; {facts.sentence()}")
    print(
        f"{scenario.title}: {scenario.about}. Model {model}, {scenario.dtype} on {scenario.device}, {scenario.threads} threads, prompts of"
        f" {scenario.prompt_tokens}, outputs of {scenario.output_tokens}, {scenario.repeats} interleaved repeats, seed {scenario.seed}\n",
        flush=True,
    )


def print_study(study: Study) -> None:
    """Rates, shares, verdicts."""
    for name, versions in study.versions.items():
        print(f"{name}: {', '.join(f'{what} {version}' for what, version in versions.items())}")
    batches = study.scenario.batches
    head = ["output tokens a second, median (smallest-largest)", *(f"batch {batch}" for batch in batches)]
    lines = [head]
    lines += [[name, *(_spread(study.rate(name, batch)) for batch in batches)] for name in study.systems]
    for label, rate in _ROOFS if study.roofs else ():
        lines.append([label, *(_spread(_of_roofs(study, batch, rate)) for batch in batches)])
    print("\n" + grid(lines))
    lines = [["after the first token, median", *head[1:]]]
    lines += [[name, *(_whole(study.decode_rate(name, batch)) for batch in batches)] for name in study.systems]
    lines.append(["requests with our tokens exactly", *[""] * len(batches)])
    lines += [[name, *(_share(study.same(name, batch)) for batch in batches)] for name in study.systems[1:]]
    lines.append(["tokens in front of the first that is not ours", *[""] * len(batches)])
    lines += [[name, *(_share(study.agreed(name, batch)) for batch in batches)] for name in study.systems[1:]]
    print(grid(lines))
    for name, why in study.absent.items():
        print(f"{name}: {why}")
    _print_verdicts(study)


_ROOFS: tuple[tuple[str, Callable[[Roof], float]], ...] = (
    ("linear layers alone, decode steps", lambda roof: roof.rate),
    ("linear layers alone, prompts too", lambda roof: roof.job_rate),
    ("reading the weights once a step", lambda roof: roof.read_rate),
)


def _of_roofs(study: Study, batch: int, rate: Callable[[Roof], float]) -> Spread | None:
    roofs = study.roof(batch)
    return Spread.of([rate(roof) for roof in roofs]) if roofs else None


def _print_verdicts(study: Study) -> None:
    for verdict in study.verdicts():
        bar, ratio = verdict.bar, verdict.ratio
        says = f"batch {bar.batch}: ours over {verdict.over}, target >= {bar.least:g}"
        if ratio is None:
            print(f"     {says}: not measured")
        else:
            word = "ok  " if verdict.holds else "FAIL"
            print(f"{word} {says}: {ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})")


def line_of(said: Run | Roof) -> dict[str, object]:
    """A run as an object of the JSON lines."""
    kind = "run" if isinstance(said, Run) else "roof"
    values = {name: getattr(said, name) for name in said.__slots__}
    return {"kind": kind, **values, "tokens_per_s": said.rate}


def systems_of(study: Study) -> dict[str, object]:
    """Who takes part in which version, as an object of the JSON lines, in front of the runs."""
    return {
        "kind": "systems",
        "versions": {name: dict(versions) for name, versions in study.versions.items()},
        "absent": dict(study.absent),
    }


def summary_of(study: Study) -> dict[str, object]:
    """The last object of the JSON lines."""
    return {
        **systems_of(study),
        "kind": "summary",
        "medians": {
            name: {
                str(batch): rate.median
                for batch in study.scenario.batches
                if (rate := study.rate(name, batch)) is not None
            }
            for name in study.systems
        },
        "linear_layers": {
            str(batch): median(roof.rate for roof in roofs)
            for batch in study.scenario.batches
            if (roofs := study.roof(batch))
        },
        "bars": [
            {
                **verdict.bar.model_dump(),
                "measured_over": verdict.over,
                "ratio": None if verdict.ratio is None else verdict.ratio.median,
                "holds": verdict.holds,
            }
            for verdict in study.verdicts()
        ],
    }


def _spread(spread: Spread | None) -> str:
    return DASH if spread is None else f"{spread.median:,.0f} ({spread.low:,.0f}-{spread.high:,.0f})"


def _whole(value: float | None) -> str:
    return DASH if value is None else f"{value:,.0f}"


def _share(value: float | None) -> str:
    return DASH if value is None else f"{value:.0%}"
