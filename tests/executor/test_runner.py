"""The executor keeps to the rules of core/plan.py, and says so when a plan does not."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from plan_driver import GREEDY, Job, PlanDriver
from transformers_models import make

from skipjoin.core.asked import Asked
from skipjoin.core.clock import ManualClock
from skipjoin.core.errors import ExecutorLost, InvariantViolation
from skipjoin.core.executor import Executor
from skipjoin.core.plan import Admit, BlockTable, DecodeBatch, Direction, IterationPlan, Move, PageAppends, PrefillChunk
from skipjoin.core.sampling import SamplingParams
from skipjoin.executor.batch import BatchBuilder
from skipjoin.executor.handles import HandleTable
from skipjoin.executor.runner import TorchExecutor
from skipjoin.executor.sampling.last_tokens import LastTokens
from skipjoin.executor.upload import upload_for
from skipjoin.kernels.dispatch import REFERENCE
from skipjoin.kernels.layout import KvLayout, PagedKv
from skipjoin.kernels.linear import DenseLinear
from skipjoin.kvstore.device.pool import PoolShape
from skipjoin.model.weights.loading import load_model


def ints(*values, kind=np.int32):
    return np.array(values, dtype=kind)


def admit(handle, tokens, sampling=GREEDY, prompt=None, seed=0):
    return Admit(handle, ints(*tokens), len(tokens), len(tokens) if prompt is None else prompt, Asked(sampling), seed)


def handles(*values):
    return DecodeBatch(ints(*values, kind=np.int64))


@pytest.fixture(params=["quickest", "reference"])
def executor(tiny64, request):
    executor = TorchExecutor(
        tiny64, PoolShape(20, 20, 4), kernels=REFERENCE if request.param == "reference" else None, checked=True
    )
    executor.start()
    yield executor
    executor.close()


def test_a_start_warms_up_every_shape_of_product(tmp_path, monkeypatch):
    """Those around an embedding that is narrower than the decoder included."""
    make("opt norms after").save_pretrained(tmp_path)
    model, warm, warm_up = load_model(tmp_path, "cpu", "float32"), [], DenseLinear.warm_up

    def told(self, rows):
        warm.append(self)
        warm_up(self, rows)

    monkeypatch.setattr(DenseLinear, "warm_up", told)
    executor = TorchExecutor(model, PoolShape(20, 0, 4))
    executor.start()
    executor.close()
    layer, head = model.parts.layers[0], model.parts.head
    (widened,) = model.parts.embedding.refinements[:1]
    products = [layer.attention.qkv, layer.attention.out, layer.mlp.up, layer.mlp.down]
    products += [widened.product, *head.narrowing, head.product]
    assert len(products) == 7 and all(product in warm for product in products)


class Turns:
    """Numbers plans and submits them."""

    def __init__(self, executor, generation=1):
        self.executor, self.generation, self.seq = executor, generation, 0

    def __call__(self, **parts):
        self.launch(**parts)
        return self.executor.poll(None)

    def launch(self, **parts):
        self.seq += 1
        self.executor.submit(IterationPlan(seq=self.seq, generation=self.generation, **parts))


def test_it_is_an_executor_and_states_its_facts(tiny64):
    executor: Executor = TorchExecutor(tiny64, PoolShape(20, 30, 4), generation=5)
    facts = executor.start()
    assert (facts.generation, facts.device_pages, facts.host_pages, facts.page_tokens) == (5, 20, 30, 4)
    assert facts.page_bytes == 2 * 2 * 2 * 4 * 16 * 8
    assert (facts.max_context_tokens, facts.vocab_size) == (1024, 512)
    assert executor.poll(None) is None, "nothing was submitted"
    executor.close()
    executor.close()


def test_one_job_by_hand(executor):
    turn = Turns(executor)
    first = turn(
        admits=(admit(9, [5, 6, 7, 8, 9]),),
        tables=(BlockTable(9, ints(3, 7)),),
        prefills=(PrefillChunk(9, 0, 5, last=True),),
    )
    assert (first.seq, first.generation) == (1, 1)
    assert first.handles.tolist() == [9] and first.tokens.dtype == np.int32
    assert first.ended_ns >= first.started_ns
    assert first.landed == () and first.failed == () and first.logprobs is None
    batch = handles(9)
    tokens = [int(turn(decode=batch).tokens[0]) for _ in range(3)]
    grown = turn(decode=batch, new_pages=PageAppends(ints(9, kind=np.int64), ints(0)))
    tokens += grown.tokens.tolist()
    again = PlanDriver(TorchExecutor(executor._model, PoolShape(20, 0)))
    assert again.run([Job(1, [5, 6, 7, 8, 9], 5)]) == [first.tokens.tolist() + tokens]


def test_a_plan_of_chunks_alone_emits_nothing(executor):
    turn = Turns(executor)
    outcome = turn(
        admits=(admit(1, range(1, 8)),),
        tables=(BlockTable(1, ints(0, 1)),),
        prefills=(PrefillChunk(1, 0, 3, last=False),),
    )
    assert len(outcome.handles) == len(outcome.tokens) == 0
    done = turn(prefills=(PrefillChunk(1, 3, 4, last=True),))
    assert done.handles.tolist() == [1]


def test_the_order_of_the_tokens(executor):
    """Decode members in batch order, whatever their contexts are, then the last chunks in plan
    order.
    """
    turn = Turns(executor)
    turn(
        admits=(admit(1, [1]), admit(2, range(9)), admit(3, [2, 3])),
        tables=(BlockTable(1, ints(0)), BlockTable(2, ints(1, 2, 3)), BlockTable(3, ints(4))),
        prefills=(PrefillChunk(2, 0, 9, last=True), PrefillChunk(1, 0, 1, last=True), PrefillChunk(3, 0, 2, last=True)),
    )
    outcome = turn(
        admits=(admit(7, [3, 3]), admit(6, range(5)), admit(5, [1, 2])),
        tables=(BlockTable(7, ints(5)), BlockTable(6, ints(6, 7)), BlockTable(5, ints(8))),
        decode=handles(3, 2, 1),
        prefills=(
            PrefillChunk(7, 0, 2, last=True),
            PrefillChunk(6, 0, 4, last=False),
            PrefillChunk(5, 0, 2, last=True),
        ),
    )
    assert outcome.handles.tolist() == [3, 2, 1, 7, 5]


def out(move_id, handle, pages, slots):
    return Move(move_id, Direction.OUT, handle, ints(*pages), ints(*slots))


def test_a_plan_without_compute_is_answered_at_once_or_with_a_landed_move(executor):
    turn = Turns(executor)
    assert turn().landed == ()
    landed = turn(moves=(out(4, 1, [0, 1], [3, 2]), out(5, 1, [2], [0]))).landed
    while len(landed) < 2:
        landed += turn().landed
    assert sorted(landed) == [4, 5]
    assert turn().landed == ()


def test_moves_go_on_beside_a_forward_pass(executor):
    """They land in the outcome of the plan that computes or of a later one, and never twice."""
    turn = Turns(executor)
    landed = turn(
        admits=(admit(1, range(1, 7)),),
        tables=(BlockTable(1, ints(0, 1)),),
        prefills=(PrefillChunk(1, 0, 6, last=True),),
        moves=(out(8, 2, [10, 11, 12], [0, 1, 2]),),
    ).landed
    while not landed:
        landed = turn().landed
    assert landed == (8,)


def test_plans_may_be_submitted_ahead(executor):
    """Depth two: the second plan's input token is the first one's output, which nobody has read
    yet; penalties count it too.
    """
    sampling = SamplingParams(temperature=0.0, frequency_penalty=1.9, repetition_penalty=1.3)
    setup = {
        "admits": (admit(1, [4, 5, 6], sampling), admit(2, [4, 5], GREEDY)),
        "tables": (BlockTable(1, ints(0, 1, 2)), BlockTable(2, ints(3, 4, 5))),
        "prefills": (PrefillChunk(1, 0, 3, last=True), PrefillChunk(2, 0, 2, last=True)),
    }
    step = Turns(executor)
    expected = [step(**setup).tokens.tolist()]
    batches = [handles(1, 2), handles(2, 1), handles(1, 2), handles(1)]
    expected += [step(decode=batch).tokens.tolist() for batch in batches]
    ahead = TorchExecutor(executor._model, PoolShape(20, 0, 4))
    ahead.start()
    turn = Turns(ahead)
    turn.launch(**setup)
    for batch in batches:
        turn.launch(decode=batch)
    outcomes = [ahead.poll(None) for _ in range(5)]
    assert [o.seq for o in outcomes] == [1, 2, 3, 4, 5]
    assert [o.tokens.tolist() for o in outcomes] == expected
    ahead.close()


def test_a_late_token_of_a_dropped_job_is_answered(executor):
    turn = Turns(executor)
    sampling = SamplingParams(temperature=0.0, presence_penalty=1.0)
    turn.launch(
        admits=(admit(1, [1], sampling),),
        tables=(BlockTable(1, ints(0)),),
        prefills=(PrefillChunk(1, 0, 1, last=True),),
    )
    turn.launch(dropped=(1,))
    assert executor.poll(None).handles.tolist() == [1]
    assert executor.poll(None).handles.tolist() == []
    turn(dropped=(1, 77))


def test_a_late_token_is_not_counted_for_a_job_that_was_admitted_anew(executor):
    """It was told all the tokens that its penalties are to know."""
    sampling = SamplingParams(temperature=0.0, frequency_penalty=2.0)
    begin = {
        "admits": (admit(1, [4, 5, 6], sampling),),
        "tables": (BlockTable(1, ints(0, 1, 2)),),
        "prefills": (PrefillChunk(1, 0, 3, last=True),),
    }
    turn = Turns(executor)
    turn(**begin)
    expected = [turn(decode=handles(1)).tokens.tolist() for _ in range(8)]
    turn(dropped=(1,), **begin)
    turn.launch(decode=handles(1))
    turn.launch(dropped=(1,), **begin)
    assert executor.poll(None).tokens.tolist() == expected[0]
    executor.poll(None)
    assert [turn(decode=handles(1)).tokens.tolist() for _ in range(8)] == expected


def test_stamps_come_from_the_clock(tiny64):
    clock = ManualClock(42)
    executor = TorchExecutor(tiny64, PoolShape(4, 0, 4), clock=clock)
    executor.start()
    outcome = Turns(executor)()
    assert (outcome.started_ns, outcome.ended_ns) == (42, 42)
    executor.close()


def test_another_generation_is_refused(executor):
    with pytest.raises(ExecutorLost, match="generation"):
        Turns(executor, generation=2).launch()


BASE = {"admits": (admit(1, [1, 2, 3, 4, 5]),), "tables": (BlockTable(1, ints(0, 1)),)}


@pytest.mark.parametrize(
    "parts",
    [
        {"decode": handles(1)},
        BASE | {"decode": handles(2)},
        BASE | {"prefills": (PrefillChunk(2, 0, 1, last=True),)},
        BASE | {"prefills": (PrefillChunk(1, 0, 6, last=True),)},
        BASE | {"prefills": (PrefillChunk(1, 0, 4, last=True),)},
        BASE | {"prefills": (PrefillChunk(1, 0, 5, last=False),)},
        BASE | {"prefills": (PrefillChunk(1, 0, 0, last=False),)},
        BASE | {"prefills": (PrefillChunk(1, -1, 3, last=False),)},
        {"admits": BASE["admits"], "prefills": (PrefillChunk(1, 0, 5, last=True),)},
        {
            "admits": BASE["admits"],
            "tables": (BlockTable(1, ints(0)),),
            "prefills": (PrefillChunk(1, 0, 5, last=True),),
        },
        {
            "admits": BASE["admits"],
            "tables": (BlockTable(1, ints(0, 20)),),
            "prefills": (PrefillChunk(1, 0, 5, last=True),),
        },
        {
            "admits": BASE["admits"],
            "tables": (BlockTable(1, ints(-1, 0)),),
            "prefills": (PrefillChunk(1, 0, 5, last=True),),
        },
        {"admits": (admit(1, [512]),)},
        {"admits": (admit(1, [-1]),)},
        {"admits": (Admit(1, ints(1, 2), 3, 2, Asked(GREEDY), 0),)},
        {"admits": (admit(1, [1, 2], prompt=3),)},
        {"admits": (admit(1, []),)},
        {"tables": (BlockTable(3, ints(0)),)},
        {"new_pages": PageAppends(ints(3, kind=np.int64), ints(0))},
        {"moves": (out(1, 1, [20], [0]),)},
    ],
)
def test_a_plan_that_contradicts_itself_is_our_bug_and_says_so(executor, parts):
    with pytest.raises(InvariantViolation):
        Turns(executor).launch(**parts)


@pytest.mark.parametrize("kernels", [None, REFERENCE])
def test_numbers_that_are_not_finite_fail_one_job(tiny64, kernels):
    """An embedding row of NaN: the job that speaks that token fails, its neighbours' tokens are
    what they were, also in its old pages.
    """
    poisoned = tiny64.parts.embedding.table.rows.clone()
    poisoned[300] = math.nan
    table = dataclasses.replace(tiny64.parts.embedding.table, rows=poisoned)
    embedding = dataclasses.replace(tiny64.parts.embedding, table=table)
    ends = dataclasses.replace(tiny64.parts.ends, embedding=embedding)
    model = dataclasses.replace(tiny64, parts=dataclasses.replace(tiny64.parts, ends=ends))

    def fresh(first):
        params = SamplingParams(temperature=0.0, logprobs=1)
        return [Job(first + i, [10 + i, 20, 30], 12, params) for i in range(3)]

    expected = PlanDriver(TorchExecutor(tiny64, PoolShape(12, 0, 4))).run(fresh(0))
    assert all(300 not in tokens for tokens in expected)
    executor = TorchExecutor(model, PoolShape(13, 0, 4), kernels=kernels)
    driver = PlanDriver(executor)

    def bad(handle):
        return Job(handle, [1, 2, 300, 4, 5, 6], 5, SamplingParams(temperature=0.5, logprobs=0))

    driver.run([bad(1)])
    assert not torch.isfinite(executor.pools.device).all(), "the bad numbers still lie in pages that are free now"
    for round_of in range(1, 7):
        jobs = [bad(100 * round_of + 50), *fresh(100 * round_of)]
        assert driver.run(jobs) == [[], *expected]
        assert "finite" in jobs[0].failed
        assert all(len(job.logprobs) == 12 and job.logprobs[0] is not None for job in jobs[1:])


def test_a_full_device_is_told_apart_from_a_broken_one(tiny64):
    """The first asks for other settings, which the engine's process names; the second for another
    device.
    """
    failure = torch.OutOfMemoryError("none is left")

    def sample(*_):
        raise failure

    executor = TorchExecutor(tiny64, PoolShape(2, 0), kernels=dataclasses.replace(REFERENCE, sample=sample))
    with pytest.raises(MemoryError, match="memory"):
        executor.start()
    failure = RuntimeError("an illegal instruction")
    with pytest.raises(ExecutorLost, match="failed"):
        executor.start()


def test_checked_refuses_a_page_that_the_pool_does_not_have(executor):
    """The table of handles refuses such plans; behind its back, checked mode does before anything
    is read or written.
    """
    turn = Turns(executor)
    turn(
        admits=(admit(1, [1, 2, 3, 4, 5]),),
        tables=(BlockTable(1, ints(0, 1)),),
        prefills=(PrefillChunk(1, 0, 5, last=True),),
    )
    before = executor.pools.device.clone()
    executor._table.tables[executor._table.resident(1).row, 0] = 20
    with pytest.raises(ExecutorLost) as refused:
        turn.launch(decode=handles(1))
    assert "outside of the pool of 20" in str(refused.value.__cause__)
    assert torch.equal(executor.pools.device, before)


def test_padding_is_spared_by_groups_of_like_length(tiny64):
    """One long context beside many short ones: two groups; all alike: one."""
    layout = KvLayout(2, 2, 4, 16)
    kv = PagedKv(torch.zeros(layout.pool_shape(300), dtype=torch.float64), layout)

    def groups(contexts):
        table = HandleTable()
        page = 0
        for handle, context in enumerate(contexts):
            table.admit(admit(handle, [1] * context), 0)
            width = -(-context // 4)
            table.set_table(BlockTable(handle, np.arange(page, page + width, dtype=np.int32)))
            page += width
        builder = BatchBuilder(table, kv, upload_for(torch.device("cpu")), REFERENCE, heads=4)
        plan = IterationPlan(1, 1, decode=handles(*range(len(contexts))))
        built = builder.build(plan, LastTokens(table.rows, torch.device("cpu")))
        assert sum(group.size for group in built.forward.attention.groups) == len(contexts)
        assert sorted(built.forward.sampled.tolist()) == list(range(len(contexts)))
        falling = [contexts[handle] for handle in np.argsort(built.forward.sampled.numpy())]
        assert falling == sorted(contexts, reverse=True)
        return [(group.size, group.width) for group in built.forward.attention.groups]

    assert groups([20] * 8) == [(8, 20)]
    assert groups([9, 400, 12, 10, 8, 11]) == [(1, 400), (5, 12)]
    assert groups([40, 20]) == [(2, 40)], "too little to spare"
    assert groups([400, 150, 150, 20, 20, 20]) == [(1, 400), (2, 152), (3, 20)]


def test_many_jobs_grow_the_table_and_rows_are_used_again():
    table = HandleTable()
    for handle in range(40):
        table.admit(admit(handle, [handle]), 0)
        table.set_table(BlockTable(handle, ints(*range(handle + 1))))
    assert len(table) == 40 and table.rows >= 40
    for handle in range(40):
        row = table.resident(handle).row
        assert table.tables[row, : handle + 1].tolist() == list(range(handle + 1))
        assert not table.tables[row, handle + 1 :].any(), "padding repeats the row's first page"
    rows = table.rows
    for handle in range(40):
        table.drop(handle)
    for handle in range(100, 140):
        table.admit(admit(handle, [1]), 0)
    assert table.rows == rows
