"""Carries out plans on one device.

Owns `TorchExecutor`, the real implementation of the Executor port: it applies a plan to what it
remembers of each job, starts the moves, runs the model beside them, samples, and answers with
tokens and landed moves. It allocates no page and decides nothing. engine/turn calls it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import compress

import numpy as np
import torch
from torch import Tensor

from ..core.asked import Asked
from ..core.clock import Clock, MonotonicClock
from ..core.errors import ExecutorLost, InvariantViolation
from ..core.executor import ExecutorFacts
from ..core.ids import Handle, MoveId
from ..core.outcome import IterationOutcome
from ..core.plan import Admit, BlockTable, DecodeBatch, IterationPlan, PrefillChunk
from ..core.sampling import SamplingParams
from ..kernels.dispatch import Kernels, checking, compiles, kernels_for
from ..kernels.layout import KvLayout, PagedKv
from ..kvstore.device.mover import Mover, mover_for
from ..kvstore.device.pool import PagePools, PoolShape
from ..model.decoder import ForwardBatch
from ..model.parts.linear import products_in
from ..model.stages import decoder_of
from ..model.weights.loaded import LoadedModel
from .batch import Batch, BatchBuilder
from .capture import Capture
from .current_device import computing_on
from .graphs import capture_for, decode_graphs
from .handles import HandleTable
from .kernel_forms import compile_forms
from .kernel_sizes import use_own_sizes
from .ranks.group import RankGroup
from .sampling.host_copy import host_copy
from .sampling.last_tokens import LastTokens
from .sampling.penalties import Penalties
from .sampling.sampled_jobs import SampledJobs
from .sampling.sampler import SampledTokens, Sampler, memory_here
from .upload import upload_for

_WARM_ROWS = 128
_NO_MEMORY = "can't allocate memory"


@dataclass(frozen=True, slots=True, eq=False)
class _Launched:
    """A plan that was taken and not yet answered. `ready` is a CUDA event behind its work; None
    where the work is already done.
    """

    plan: IterationPlan
    started_ns: int
    ended_ns: int
    jobs: SampledJobs | None = None
    sampled: SampledTokens | None = None
    ready: torch.cuda.Event | None = None


class TorchExecutor:
    """The Executor port on torch.

    `submit` applies the plan and launches its work: on the CPU it returns when the work is done, on
    CUDA at once, and `poll` waits. Several plans may be submitted before the first is polled; a
    decode member's newest token stays on the device for the next plan.
    """

    def __init__(
        self,
        model: LoadedModel,
        pool: PoolShape,
        *,
        generation: int = 1,
        clock: Clock | None = None,
        kernels: Kernels | None = None,
        checked: bool = False,
        graph_rows: int = 0,
        capture: Capture | None = None,
        group: RankGroup | None = None,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """`kernels` None: the quickest for the model's device. `graph_rows`: on CUDA, decodes of up
        to so many jobs are replayed where that can be done; `capture`: by what, for tests.
        `checked`: every iteration's tables and slots are looked at before anything reads or writes
        by them, for tests and for hunting a bug; on a device this waits for them. `group`: the
        ranks of which this is one, which carry out the same plans. A stage of several replays
        nothing. `beat` is called whenever a long start or iteration has gone a step on: after a
        layer, a compiled kernel form, a recorded graph.
        """
        self._model = model
        self._kernels = kernels
        self._checked = checked
        # Stages whose attentions differ would not record as many graphs, and wait for each other.
        self._graph_rows = graph_rows if model.ring is None else 0
        self._capture = capture
        self._group = group
        self._embeds = model.ring is None or model.ring.stage == 0
        self._chooses = self._embeds and (group is None or group.rank == 0)
        self._beat = beat
        self._pool = pool
        self._generation = generation
        self._clock = clock if clock is not None else MonotonicClock()
        self._computes_at_once = model.device.type != "cuda"
        self._on_device = computing_on(model.device)
        self._inferring = torch.inference_mode()
        self._launched: deque[_Launched] = deque()
        self._table = HandleTable(pool.num_pages)
        self._last_tokens = LastTokens(self._table.rows, model.device)
        self._started = False
        self._mover: Mover

    def start(self) -> ExecutorFacts:
        """Allocate the pools and run one token through the model. Raises InvalidInput when the
        pools do not fit into memory.
        """
        config, device, dtype = self._model.config, self._model.device, self._model.dtype
        if self._kernels is None and compiles(device, dtype):
            use_own_sizes()
            compile_forms(self._model, self._pool.page_tokens, self._beat)
        layout = KvLayout(config.layers, config.kv_heads, self._pool.page_tokens, config.head_dim)
        self.pools = PagePools(layout, self._pool, device, dtype)
        self._kv = PagedKv(self.pools.device, layout)
        kernels = self._kernels or kernels_for(device, dtype)
        if self._checked:
            kernels = checking(kernels)
        self._upload = upload_for(device)
        capture = capture_for(device, kernels, self._graph_rows, self._capture)
        self._decoder = decoder_of(self._model, self._kv, kernels, recorded=capture is not None, beat=self._beat)
        self.graphs = decode_graphs(self._decoder, self._model, self._kv, kernels, self._graph_rows, capture)
        self._builder = BatchBuilder(self._table, self._kv, self._upload, kernels, config.heads)
        self._sampler = Sampler(self._table, kernels, self._upload.keep)
        self._penalties = Penalties(config.vocab_size, self._upload.bring)
        self._mover = mover_for(self.pools)
        self._started = True
        self._warm_up()
        return ExecutorFacts(
            generation=self._generation,
            device_pages=self._pool.num_pages,
            host_pages=self._pool.num_host_pages,
            page_tokens=self._pool.page_tokens,
            page_bytes=self.pools.page_bytes,
            max_context_tokens=config.max_context_tokens,
            vocab_size=config.vocab_size,
        )

    def submit(self, plan: IterationPlan) -> None:
        """Take a plan. Raises InvariantViolation for a plan that contradicts what was planned
        before, ExecutorLost when the device fails, MemoryError when it is full.
        """
        assert self._started, "start() first"
        if plan.generation != self._generation:
            raise ExecutorLost(
                f"The plan is of generation {plan.generation}, the pools of generation {self._generation} started "
                "empty."
            )
        started_ns = self._clock.now_ns()
        self._apply(plan)
        for move in plan.moves:
            self._mover.start(move)
        if not plan.computes:
            self._launched.append(_Launched(plan, started_ns, started_ns))
            return
        try:
            with self._on_device, self._inferring:
                batch = self._build(plan)
                sampled = self._sample(plan, batch, self._forward(batch.forward))
                ready = self._fence()
        except torch.OutOfMemoryError as full:
            raise MemoryError("The device has no memory left for an iteration.") from full
        except (RuntimeError, IndexError) as error:
            if _NO_MEMORY in str(error):  # torch has no class of its own for it on a CPU
                raise MemoryError("The machine has no memory left for an iteration.") from error
            raise ExecutorLost("The device failed while it computed an iteration.") from error
        self._launched.append(_Launched(plan, started_ns, self._clock.now_ns(), batch.jobs, sampled, ready))

    def poll(self, timeout_ns: int | None) -> IterationOutcome | None:
        """As the port says. On CUDA any time-out but 0 waits for the iteration's end, which is
        near.
        """
        if not self._launched:
            return None
        oldest = self._launched[0]
        if not oldest.plan.computes:
            if self._mover.in_flight and not self._mover.wait_one(timeout_ns):
                return None
            return self._answer(oldest, self._clock.now_ns())
        if oldest.ready is None:
            return self._answer(oldest, oldest.ended_ns)
        try:
            if timeout_ns == 0 and not oldest.ready.query():
                return None
            oldest.ready.synchronize()
        except RuntimeError as error:
            raise ExecutorLost("The device failed while it computed an iteration.") from error
        return self._answer(oldest, self._clock.now_ns())

    def landed(self) -> tuple[MoveId, ...]:
        """Moves that were completed since the last answer, for a rank that has no plan to answer."""
        return self._mover.landed()

    def close(self) -> None:
        """Finish the copies in flight and let go of pools and model; idempotent."""
        if self._started:
            self._started = False
            self._mover.close()
            for launched in self._launched:
                if launched.ready is not None:  # nobody says that a graph may be destroyed while it runs
                    with suppress(RuntimeError):
                        launched.ready.synchronize()
            self._launched.clear()
            del (
                self.pools,
                self._kv,
                self._decoder,
                self._builder,
                self._sampler,
                self._penalties,
                self._upload,
                self.graphs,
            )

    def _apply(self, plan: IterationPlan) -> None:
        """The plan's news about handles, in the order that core/plan.py states."""
        for handle in plan.dropped:
            self._table.drop(handle)
        for admit in plan.admits:
            self._admit(admit)
        for table in plan.tables:
            self._table.set_table(table)
        if len(plan.new_pages.handles):
            self._table.append_pages(plan.new_pages)

    def _admit(self, admit: Admit) -> None:
        if (
            len(admit.tokens)
            and not 0 <= int(admit.tokens.min()) <= int(admit.tokens.max()) < self._model.config.vocab_size
        ):
            # The door checks token ids; on CUDA a wrong one here would break the device for every
            # job.
            raise InvariantViolation(f"Admit of handle {admit.handle} holds a token that the model does not have.")
        self._table.admit(admit, admit.seed)
        self._last_tokens.fit(self._table.rows)

    # An iteration's parts, each a method so that whoever measures can time them one by one.
    def _build(self, plan: IterationPlan) -> Batch:
        batch = self._builder.build(plan, self._last_tokens)
        if len(batch.fresh_pages):
            # What a page's last owner left behind the new context is masked, but infinity or NaN
            # would survive the mask.
            self.pools.device[self._upload.bring(batch.fresh_pages)[0]] = 0
        return batch

    def _forward(self, batch: ForwardBatch) -> Tensor:
        return self._decoder.forward(batch) if self.graphs is None else self.graphs.forward(batch)

    def _sample(self, plan: IterationPlan, batch: Batch, logits: Tensor) -> SampledTokens | None:
        jobs = batch.jobs
        if not len(jobs):
            return None
        sampled = self._chosen(plan, batch, logits) if self._chooses else self._taken(batch, logits)
        self._last_tokens.put(jobs.rows, jobs.rows_there, sampled)
        self._table.columns["known"][jobs.rows] = batch.positions + 1
        return host_copy(sampled)

    def _chosen(self, plan: IterationPlan, batch: Batch, logits: Tensor) -> SampledTokens:
        jobs = batch.jobs
        seen = self._penalties.seen(plan, jobs, self._table.version)
        sampled = self._sampler.sample(logits, jobs, batch.positions, batch.positions_there, seen)
        if seen is not None:
            self._penalties.sampled(jobs, seen, sampled.tokens)
        if self._group is not None:
            self._group.share_(sampled.tokens)
        return sampled

    def _taken(self, batch: Batch, logits: Tensor) -> SampledTokens:
        """What rank 0 chose, on the device. A later stage counts tokens and needs none of them."""
        tokens = torch.zeros(len(batch.jobs), dtype=torch.int64, device=logits.device)
        if self._embeds:
            assert self._group is not None, "whoever is alone chooses"
            self._group.share_(tokens)
        return SampledTokens(tokens, torch.ones_like(tokens, dtype=torch.bool), memory_here(tokens))

    def _fence(self) -> torch.cuda.Event | None:
        if self._computes_at_once:
            return None
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(self._model.device))
        return event

    def _answer(self, launched: _Launched, ended_ns: int) -> IterationOutcome:
        self._launched.popleft()
        plan = launched.plan
        landed = self._mover.landed()
        jobs, sampled = launched.jobs, launched.sampled
        if jobs is None or sampled is None:
            return IterationOutcome(plan.seq, plan.generation, launched.started_ns, ended_ns, landed=landed)
        assert sampled.here is not None, "host_copy gives it"
        handles, tokens = jobs.handles, sampled.here.astype(np.int32)
        logprobs = sampled.logprobs(jobs.logprobs)
        finite = sampled.finite.tolist()
        if jobs.penalised and self._chooses:
            self._penalties.read(jobs, tokens.tolist(), finite)
        failed: tuple[tuple[Handle, str], ...] = ()
        if not all(finite):
            fine = np.array(finite)
            failed = tuple(
                (Handle(handle), "The model gave numbers that are not finite.") for handle in handles[~fine].tolist()
            )
            handles, tokens = handles[fine], tokens[fine]
            if logprobs is not None:
                logprobs = tuple(compress(logprobs, finite))
        return IterationOutcome(
            plan.seq, plan.generation, launched.started_ns, ended_ns, handles, tokens, logprobs, landed, failed
        )

    def _warm_up(self) -> None:
        """A prompt token and a decode token through the whole model, so that the first job does not
        pay for lazy set-up.
        """
        parts = self._model.parts
        with torch.inference_mode():
            # Code is made per shape, and the layers are alike.
            for product in products_in((parts.ends, parts.layers[0])):
                product.warm_up(_WARM_ROWS)
        handle, page = Handle(-1), np.zeros(1, dtype=np.int32)
        admit = Admit(handle, np.zeros(1, dtype=np.int32), 1, 1, Asked(SamplingParams(temperature=0.0)), 0)
        prefill = IterationPlan(
            seq=-2,
            generation=self._generation,
            admits=(admit,),
            tables=(BlockTable(handle, page),),
            prefills=(PrefillChunk(handle, 0, 1, last=True),),
        )
        decode = IterationPlan(
            seq=-1, generation=self._generation, decode=DecodeBatch(np.array([handle], dtype=np.int64))
        )
        for plan in (prefill, decode) if self._pool.page_tokens > 1 else (prefill,):
            self.submit(plan)
            self.poll(None)
        self._table.drop(handle)
        self.pools.device[0] = 0
