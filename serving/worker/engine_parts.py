"""What an engine process is made of, from the settings.

Owns the construction of executor, cost model and turn. It runs nothing; engine_process calls
`build_engine` once. Torch is imported only for the torch executor, so that a simulated one starts
in a moment.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...core.clock import Clock
from ...core.errors import InvalidProfile, InvalidSettings
from ...core.executor import Executor, ExecutorFacts
from ...cost.exact import cost_values
from ...cost.profiles import load_profile
from ...engine.assemble import assemble
from ...engine.params import EngineParams
from ...engine.recording import Recorder, RecordHeader
from ...engine.turn import Turn
from ...kvstore.params import KvParams
from ..facts import EngineFacts, EngineWords
from ..ipc import EngineEnd
from ..settings import ServeSettings
from ..tokenizers import tokenizer_for
from .announce import AnnouncingExecutor
from .computing import ROOFLINE, Computing
from .learned_file import LearnedFile, place_of
from .pulse import Pulse
from .rank_rows import RankRows, row_of_first

PAGE_TOKENS = 16
SIMULATED_PROFILE = "opt-13b-a100"


@dataclass(frozen=True, slots=True)
class Engine:
    """A turn ready to step; `close` gives its executor back."""

    facts: EngineFacts
    turn: Turn
    executor: Executor
    recorder: Recorder | None
    learned: LearnedFile
    ranks: RankRows = field(default_factory=lambda: RankRows(()))

    def keep(self, now_ns: int) -> None:
        """Write down what was learned if it is time to."""
        self.learned.keep(now_ns, self.turn.state.learned)

    def close(self) -> None:
        """Give everything back, and keep what was learned."""
        self.learned.write(self.turn.state.learned)
        if self.recorder is not None:
            self.recorder.close()
        self.executor.close()


def build_engine(
    settings: ServeSettings, incarnation: int, ipc: EngineEnd | None, clock: Clock, pulse: Pulse | None = None
) -> Engine:
    """Load, allocate, join; with an `ipc` the door is told of launches, and what is learned is
    kept. `pulse` says how far it is.

    Raises InvalidModel, InvalidProfile, InvalidSettings, InvalidInput, ExecutorLost.
    """
    pulse = pulse or Pulse(None, incarnation, clock)
    pulse.step("reading the tokenizer")
    tokenizer = tokenizer_for(settings)
    if settings.executor == "simulated":
        computing = _simulated(settings, incarnation, tokenizer.vocab_size, tokenizer.end_tokens, pulse)
    else:
        from .torch_parts import torch_computing

        computing = torch_computing(settings, incarnation, clock, pulse)
    pulse.step("joining its parts")
    params = _params(settings, at_once=computing.at_once)
    learned = LearnedFile(place_of(settings.pool_path) if ipc is not None else None)
    header = RecordHeader(
        settings.policy,
        computing.cost,
        computing.facts,
        params,
        tokenizer.end_tokens,
        tuple(tokenizer.token_bytes),
        corrected=True,
        learned=learned.load(),
    )
    state = assemble(
        header.policy,
        header.engine_cost(),
        header.facts,
        params,
        end_tokens=header.end_tokens,
        token_bytes=header.token_bytes,
        learned=header.learned,
    )
    executor: Executor = computing.executor
    if ipc is not None:
        executor = AnnouncingExecutor(executor, ipc, incarnation)
    recorder = _recorder(settings, incarnation, header)
    turn = Turn(state, executor, clock, recorder=recorder)
    facts = EngineFacts(computing.facts, settings.policy, _words(settings, computing))
    return Engine(facts, turn, executor, recorder, learned, computing.ranks)


def _params(settings: ServeSettings, *, at_once: bool) -> EngineParams:
    return EngineParams(
        max_batch=settings.max_batch,
        max_prefill_tokens=settings.max_prefill_tokens,
        iteration_ms=settings.iteration_ms,
        starvation=settings.starvation,
        tail=settings.tail,
        kv=KvParams(mode=settings.kv_mode),
        run_ahead=settings.run_ahead == "on" or (settings.run_ahead == "auto" and not at_once),
        preempt_every_turn=settings.preempt_every_turn,
        validate_every_turn=settings.validate_every_turn,
    )


def _words(settings: ServeSettings, computing: Computing) -> EngineWords:
    return EngineWords(
        max_batch=settings.max_batch,
        device=computing.device,
        dtype=computing.dtype,
        model_name=settings.names[0],
        profile=computing.profile,
        costs=cost_values(computing.cost),
    )


def _simulated(
    settings: ServeSettings, incarnation: int, vocab_size: int, end_tokens: frozenset[int], pulse: Pulse
) -> Computing:
    from ...sim.paced import paced_executor

    name = settings.profile or SIMULATED_PROFILE
    if name == ROOFLINE:
        raise InvalidProfile(
            "A roofline is estimated from a device's speeds, and a simulated executor has none.",
            field="profile",
            limit="a file or a shipped name",
        )
    profile = load_profile(name)
    device_tokens = settings.kv_tokens or profile.kv_tokens
    host_tokens = settings.host_kv_tokens
    if host_tokens is None:
        host_tokens = profile.host_kv_tokens if profile.host_kv_tokens is not None else 4 * device_tokens
    if device_tokens < PAGE_TOKENS:
        raise InvalidSettings("kv_tokens holds no page.", field="kv_tokens", limit=f"at least {PAGE_TOKENS}")
    facts = ExecutorFacts(
        generation=incarnation,
        device_pages=device_tokens // PAGE_TOKENS,
        host_pages=host_tokens // PAGE_TOKENS,
        page_tokens=PAGE_TOKENS,
        page_bytes=PAGE_TOKENS * profile.token_bytes,
        max_context_tokens=profile.max_context_tokens,
        vocab_size=vocab_size,
    )
    executor = paced_executor(profile.cost, facts, scale=settings.simulated_scale, avoid=end_tokens, beat=pulse.beat)
    rows = RankRows([row_of_first("simulated", facts.device_pages, facts.host_pages, facts.page_bytes)])
    return Computing(executor, executor.start(), profile.cost, "simulated", "none", name, ranks=rows)


def _recorder(settings: ServeSettings, incarnation: int, header: RecordHeader) -> Recorder | None:
    """A file per engine: a restarted one must not write over the record of the one before it."""
    if settings.record is None:
        return None
    path = settings.record if incarnation == 1 else settings.record.with_name(f"{settings.record.name}.{incarnation}")
    return Recorder(path, header)
