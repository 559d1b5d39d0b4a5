"""An offline comparison, run by run.

Owns the order: every system is loaded in a process of its own and stays, then for each batch and repeat all decode the same prompts, one after
the other, and who begins changes from repeat to repeat. It knows no system beyond its process; the command calls it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from ...core.errors import Unavailable
from ..live import Reporter
from ..peers.runner import Runner
from .figures import OURS, Roof, Run, Study

LOAD_S, CALL_S = 600.0, 600.0
WARM_TOKENS = 4
NS = 1e9
Tokens = list[list[int]]


def measure(
    study: Study,
    model: Path,
    vocabulary: int,
    systems: Sequence[tuple[Runner, Path]],
    roof: Runner | None,
    reporter: Reporter,
) -> Iterator[Run | Roof]:
    """Fill `study` and answer every run as it ends. `systems`: ours first, each with the folder it may keep things in; `roof` None: not measured.

    Raises Unavailable when ours or the roof fails; of a peer that fails it is noted in the study, and the others go on.
    """
    scenario = study.scenario
    asked = {"model": str(model), "threads": scenario.threads, "device": scenario.device, "dtype": scenario.dtype}
    asked |= {"most": max(scenario.batches), "room": scenario.room_tokens}  # requests at once, tokens of each
    with ExitStack() as stack:
        there: list[Runner] = []
        reporter.begin("loading", len(systems) + (roof is not None))
        try:
            for runner, kept in systems:
                if _loaded(study, stack.enter_context(runner), {**asked, "kept": str(kept)}, vocabulary):
                    there.append(runner)
                reporter.ended(1)
            if roof is not None:
                study.versions[roof.name] = stack.enter_context(roof).ask("load", LOAD_S, **asked)["versions"]
        finally:
            reporter.end()
        reporter.begin("decoding", len(scenario.batches) * scenario.repeats)
        try:
            for batch in scenario.batches:
                for repeat in range(scenario.repeats):
                    yield from _round(study, there, roof, batch, repeat, vocabulary)
                    reporter.ended(1)
        finally:
            reporter.end()


def _loaded(study: Study, runner: Runner, asked: dict[str, object], vocabulary: int) -> bool:
    """Load it and decode a little of every batch, so that nobody compiles in what is timed."""
    scenario = study.scenario
    try:
        study.versions[runner.name] = runner.ask("load", LOAD_S, **asked)["versions"]
        for batch in scenario.batches:
            prompts = scenario.prompts(batch, -1, vocabulary)
            runner.ask("generate", CALL_S, prompts=prompts, new_tokens=WARM_TOKENS)
    except Unavailable as bad:
        _lost(study, runner, bad)
        return False
    return True


def _lost(study: Study, runner: Runner, why: Unavailable) -> None:
    if runner.name == OURS:
        raise why
    runner.stop()  # its memory and processors are for the others
    study.absent[runner.name] = str(why)
    study.failed.add(runner.name)


def _round(
    study: Study, there: list[Runner], roof: Runner | None, batch: int, repeat: int, vocabulary: int
) -> Iterator[Run | Roof]:
    """One repeat of one batch: the roof and every system that is still there."""
    if roof is not None:
        yield _roof(study, roof, batch, repeat)
    runs: dict[str, tuple[Run, Tokens]] = {}
    turn = repeat % max(len(there), 1)
    for runner in [*there[turn:], *there[:turn]]:
        try:
            runs[runner.name] = _run(study, runner, batch, repeat, vocabulary)
        except Unavailable as bad:
            _lost(study, runner, bad)
            there.remove(runner)
    ours = runs[OURS][1]
    for name, (run, tokens) in runs.items():
        if name != OURS:
            same, agreed = agreement(ours, tokens)
            run = replace(run, same=same, agreed=agreed)
        study.runs.append(run)
        yield run


def _roof(study: Study, roof: Runner, batch: int, repeat: int) -> Roof:
    scenario = study.scenario
    told = roof.ask("linear", CALL_S, rows=batch, prompt_rows=batch * scenario.prompt_tokens)
    limits = Roof(
        batch, repeat, scenario.output_tokens, *(told[name] / NS for name in ("step_ns", "prompt_ns", "read_ns"))
    )
    study.roofs.append(limits)
    return limits


def agreement(ours: Tokens, theirs: Tokens) -> tuple[float, float]:
    """Share of requests with our tokens exactly; mean share of a request's tokens in front of the first that is another."""
    same, agreed = 0, 0.0
    for mine, other in zip(ours, theirs, strict=True):
        differ = (at for at, (one, two) in enumerate(zip(mine, other, strict=True)) if one != two)
        agreed += next(differ, len(mine)) / len(mine)
        same += mine == other
    return same / len(ours), agreed / len(ours)


def _run(study: Study, runner: Runner, batch: int, repeat: int, vocabulary: int) -> tuple[Run, Tokens]:
    """A call for one token each, with prompts of its own, then the one that counts. Raises Unavailable when tokens are missing."""
    scenario = study.scenario
    first = scenario.prompts(batch, repeat + scenario.repeats, vocabulary)
    prompt_ns = runner.ask("generate", CALL_S, prompts=first, new_tokens=1)["ns"]
    prompts = scenario.prompts(batch, repeat, vocabulary)
    told = runner.ask("generate", CALL_S, prompts=prompts, new_tokens=scenario.output_tokens)
    tokens: Tokens = told["tokens"]
    if [len(one) for one in tokens] != [scenario.output_tokens] * batch:
        raise Unavailable(f"{runner.name} gave another number of tokens than it was asked for.")
    return Run(runner.name, batch, repeat, scenario.output_tokens, told["ns"] / NS, prompt_ns / NS), tokens
