"""What is sent to a device arrives as it was sent, however far behind the device is; nothing on the
way there makes the host wait.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ahead_story import told
from plan_driver import Job, PlanDriver

from skipjoin.core.sampling import SamplingParams
from skipjoin.executor.runner import TorchExecutor
from skipjoin.executor.upload import UploadRing, upload_for
from skipjoin.kvstore.device.pool import PoolShape
from skipjoin.model.weights.loading import load_model

pytestmark = pytest.mark.gpu

DEVICE = torch.device("cuda")
BEHIND_CYCLES = 20_000_000  # some hundredths of a second


def test_staging_is_page_locked_and_written_again_only_behind_its_copy():
    """Twenty iterations, the later ones large enough for slabs to grow, given to a device that is
    busy with something else.
    """
    ring = upload_for(DEVICE)
    assert isinstance(ring, UploadRing)
    assert all(slab._staging.is_pinned() for slab in ring._slabs)
    sent, found, kept = [], [], []
    for number in range(20):
        torch.cuda._sleep(BEHIND_CYCLES)
        ring.begin()
        arrays = np.arange(1 << number) * number, np.full((3, 5), number, np.int32), np.arange(number) / 2
        found += [tensor.clone() for tensor in ring.bring(*arrays)]
        kept += ring.keep(*arrays)
        sent += [array.copy() for array in arrays]
        for array in arrays:
            array[...] = -1
    for array, tensor, other in zip(sent, found, kept, strict=True):
        assert np.array_equal(tensor.cpu().numpy(), array) and np.array_equal(other.cpu().numpy(), array)
    assert all(slab._staging.is_pinned() for slab in ring._slabs)


SAMPLINGS = {
    "greedy": SamplingParams(temperature=0.0),
    "drawn": SamplingParams(temperature=0.8, top_p=0.9, logprobs=2),
    "penalised": SamplingParams(temperature=0.0, frequency_penalty=0.5, repetition_penalty=1.2),
}


@pytest.mark.parametrize("graph_rows", [0, 8])
@pytest.mark.parametrize("name", SAMPLINGS)
def test_a_plan_is_taken_without_waiting_for_the_device(gpu_folder, name, graph_rows):
    """With the device behind: torch raises at whatever would make the host wait, and plans have not
    ended when `submit` returns.
    """
    executor = TorchExecutor(load_model(gpu_folder, "cuda", "float32"), PoolShape(200, 0), graph_rows=graph_rows)
    driver, submit, early = PlanDriver(executor, max_batch=6, chunk=30), executor.submit, []
    jobs = [Job(i, [3, 4, 5 + i] * (4 * i + 1), 12 + i, SAMPLINGS[name], seed=i) for i in range(8)]
    again = [Job(100 + i, job.prompt, job.wanted, job.sampling, seed=i) for i, job in enumerate(jobs)]
    expected = driver.run(jobs)  # whatever torch loads when it is first used is loaded now

    def strict(plan):
        torch.cuda._sleep(BEHIND_CYCLES)
        torch.cuda.set_sync_debug_mode("error")
        try:
            submit(plan)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        if plan.computes:
            early.append(not executor._launched[-1].ready.query())

    executor.submit = strict
    assert driver.run(again) == expected
    assert len(early) > 12 and sum(early) > 0.9 * len(early)
    executor.close()


@pytest.mark.parametrize("graph_rows", [0, 5])
@pytest.mark.parametrize(
    "names", [["greedy"], ["seeded", "log-probabilities"], ["repetition", "frequency", "everything"]]
)
def test_two_plans_in_flight_give_the_tokens_of_one(gpu_folder, names, graph_rows):
    """The device is held back, so that the second is submitted, and the first's answer on its way,
    while nothing has been computed.
    """
    model = load_model(gpu_folder, "cuda", "float32")
    _, tokens, logprobs = told(model, names, 31, 2, 1, graph_rows=graph_rows)
    unread = []

    class Behind(TorchExecutor):
        def submit(self, plan):
            torch.cuda._sleep(BEHIND_CYCLES)
            super().submit(plan)
            unread.append(len(self._launched))

    story, ahead, beside = told(model, names, 31, 2, 2, kind=Behind, graph_rows=graph_rows)
    assert ahead == tokens and beside == logprobs
    assert unread.count(2) > 80 and min(story.rejoined, story.cut, story.kept) > 3
