"""A model in this process: `LLM(folder).generate(prompts)`.

Owns the in-process form of the engine: the same turn and executor as the server's, without door,
socket or job pool. It keeps nothing between calls but the loaded model. Users import it as
`skipjoin.LLM`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import Any, Unpack

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..core.asked import DEFAULT_SAMPLING, Asked, AskedOptionsEach, options_of_each
from ..core.clock import MonotonicClock
from ..core.effects import Finished, TurnEffects
from ..core.errors import InvalidInput, InvariantViolation, JobFailed
from ..core.events import CancelRequested, Submitted
from ..core.ids import Handle
from ..core.job import FinishReason
from ..core.logprobs import TokenLogprobs
from ..core.sampling import SamplingParams
from ..core.view import NOTHING_GIVEN, ChatMessage, JobSpec
from .door.intake import Intake
from .door.streams import assembler
from .settings import load_settings, located
from .tokenizers import defaults_for, output_cap_for, tokenizer_for
from .worker.engine_parts import Engine, build_engine

Prompt = str | Sequence[int] | Sequence[ChatMessage]
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Generation:
    """What came of one prompt. `token_ids` are all tokens, the one that ended the job included;
    `text` is what is shown of them.
    """

    text: str
    token_ids: tuple[int, ...]
    finish: FinishReason
    sampling: SamplingParams
    logprobs: tuple[TokenLogprobs | None, ...] | None = None


@dataclass(slots=True)
class _Job:
    submitted: Submitted
    tokens: list[int]
    logprobs: list[TokenLogprobs | None] | None
    finish: FinishReason | None = None


class LLM:
    """A loaded model: a folder, or an id of the Hugging Face hub (`revision="..."` chooses a
    branch, tag or commit). `options` are settings of the server by name (device, dtype, kv_tokens,
    host_kv_tokens, max_batch, policy, profile, ...).

    Raises InvalidModel, InvalidSettings, InvalidInput; for a model of the hub NotFound, Denied,
    Unavailable. `close` (or leaving a `with`) gives the memory back.
    """

    def __init__(self, model: str | Path, **options: Any) -> None:
        self._settings = located(load_settings({"model": model, **options}))
        self._clock = MonotonicClock()
        self._tokenizer = tokenizer_for(self._settings)
        self._intake = Intake(
            self._tokenizer,
            defaults_for(self._settings),
            default_max_new_tokens=output_cap_for(self._settings),
            job_cap_s=_DAY_S,
        )
        self._engine: Engine | None = build_engine(self._settings, 1, None, self._clock)
        self._next_handle = 1

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        progress: bool = True,
        **options: Unpack[AskedOptionsEach],
    ) -> list[Generation]:
        """Complete every prompt (text, token ids or a conversation), in the order given, however
        they are scheduled.

        `sampling` holds for all prompts, or one for each; None: as the model's
        generation_config.json says. So does each of `options`, which are the other fields of
        core.asked.Asked. `progress` draws a bar on standard error if that is a terminal. Raises
        InvalidInput, NeverFits, JobFailed.
        """
        engine = self._engine
        if engine is None:
            raise InvalidInput("This LLM is closed; make a new one.")
        jobs = self._jobs(engine, _as_list(prompts), sampling, options)
        with _bar(len(jobs), shown=progress) as bar:
            task = bar.add_task("generating", total=len(jobs))
            try:
                self._run(engine, jobs, lambda ended: bar.advance(task, ended))
            except BaseException:
                self._abandon(engine, jobs)
                raise
        return [self._generation(job) for job in jobs.values()]

    def _jobs(
        self,
        engine: Engine,
        prompts: Sequence[Prompt],
        sampling: SamplingParams | Sequence[SamplingParams] | None,
        options: AskedOptionsEach,
    ) -> dict[int, _Job]:
        each = [sampling] * len(prompts) if sampling is None or isinstance(sampling, SamplingParams) else list(sampling)
        if len(each) != len(prompts):
            raise InvalidInput(
                f"There are {len(prompts)} prompts and {len(each)} sampling parameters.", field="sampling"
            )
        options_each = options_of_each(len(prompts), options)
        now = self._clock.now_ns()
        jobs: dict[int, _Job] = {}
        for prompt, params, chosen in zip(prompts, each, options_each, strict=True):
            spec = replace(
                _spec(prompt),
                asked=Asked(params or DEFAULT_SAMPLING, **chosen),
                sampling_given=NOTHING_GIVEN if params is None else None,
            )
            ready = self._intake.prepare(spec, engine.facts)
            handle = Handle(self._next_handle)
            self._next_handle += 1
            submitted = Submitted(
                handle,
                len(ready.prompt),
                ready.asked,
                now,
                earlier_output_tokens=ready.earlier_output_tokens,
                prompt=ready.prompt,
            )
            jobs[handle] = _Job(submitted, [], [] if ready.asked.sampling.logprobs is not None else None)
        return jobs

    def _run(self, engine: Engine, jobs: dict[int, _Job], ended: Any) -> None:
        events: list[Submitted] = [job.submitted for job in jobs.values()]
        left = len(jobs)
        while left:
            effects = engine.turn.step(events)
            events = []
            finished = _apply(effects, jobs)
            if finished:
                left -= finished
                ended(finished)
            elif left and not engine.turn.busy:
                raise InvariantViolation("The engine has jobs and nothing to do.")

    def _abandon(self, engine: Engine, jobs: dict[int, _Job]) -> None:
        """Free what an interrupted call holds, so that the next one finds an empty engine."""
        events: list[CancelRequested] = [
            CancelRequested(job.submitted.handle) for job in jobs.values() if job.finish is None
        ]
        for _ in range(8):
            engine.turn.step(events)
            events = []
            if not engine.turn.busy:
                return

    def _generation(self, job: _Job) -> Generation:
        assert job.finish is not None, "the loop ends when every job has"
        text = assembler(self._tokenizer, job.submitted.asked.sampling)
        shown = text.push(job.tokens) + text.finish()
        logprobs = tuple(job.logprobs) if job.logprobs is not None else None
        return Generation(shown, tuple(job.tokens), job.finish, job.submitted.asked.sampling, logprobs)

    def close(self) -> None:
        """Give model and pools back; idempotent."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()
        self._intake.close()

    def __enter__(self) -> LLM:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _apply(effects: TurnEffects, jobs: dict[int, _Job]) -> int:
    """Note one turn's tokens and ends; answers how many jobs ended. Raises JobFailed."""
    columns = effects.tokens
    if columns is not None:
        for row, (handle, token) in enumerate(zip(columns.handles.tolist(), columns.tokens.tolist(), strict=True)):
            job = jobs.get(handle)
            if job is None:
                continue  # of a call that was interrupted
            job.tokens.append(token)
            if job.logprobs is not None:
                job.logprobs.append(columns.logprobs[row] if columns.logprobs is not None else None)
    count = 0
    for effect in effects.effects:
        if isinstance(effect, Finished) and (job := jobs.get(effect.handle)) is not None:
            job.finish = effect.reason
            count += 1
            if effect.reason is FinishReason.FAILED:
                raise JobFailed((effect.failure or ("", "The job failed."))[1])
    return count


def _as_list(prompts: Prompt | Sequence[Prompt]) -> Sequence[Any]:
    """One prompt or many: text, a list of ids and a list of messages are one."""
    if isinstance(prompts, str):
        return [prompts]
    items: Iterable[Any] = prompts
    listed = list(items)
    return [listed] if listed and isinstance(listed[0], (int, ChatMessage)) else listed


def _spec(prompt: Any) -> JobSpec:
    if isinstance(prompt, str):
        return JobSpec(text=prompt)
    listed: list[Any] = list(prompt) if isinstance(prompt, Iterable) else [None]
    if listed and all(isinstance(message, ChatMessage) for message in listed):
        return JobSpec(messages=tuple(listed))
    if not all(isinstance(token, Integral) and not isinstance(token, bool) for token in listed):
        raise InvalidInput("A prompt is text, a list of token ids or a list of ChatMessage.", field="prompts")
    return JobSpec(token_ids=tuple(int(token) for token in listed))


def _bar(total: int, *, shown: bool) -> Progress:
    return Progress(
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),  # standard output is the program's own
        disable=not (shown and sys.stderr.isatty()),
        transient=total == 0,
    )
