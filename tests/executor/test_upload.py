"""What is sent arrives as it was when it was sent, however late the device copies and whatever is
sent behind it.
"""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from skipjoin.executor.upload import PlainUpload, UploadRing, upload_for

CPU = torch.device("cpu")
KINDS = (np.int64, np.int32, np.float64, np.bool_)


class LateDevice:
    """A device that does nothing before somebody waits for it: launches queue up, in order, as they
    do on a stream.
    """

    def __init__(self, careless=False):
        self.queue, self.done, self.waits, self.staged = [], 0, 0, []
        self.careless = careless

    def staging(self, size):
        self.staged.append(size)
        return torch.empty(size, dtype=torch.uint8)

    def launch(self, there, here):
        self.queue.append(lambda: there.copy_(here))

    def event(self):
        return LateEvent(self)

    def run(self, until):
        while self.done < until:
            self.queue[self.done]()
            self.done += 1


class LateEvent:
    def __init__(self, device):
        self.device, self.at = device, 0

    def record(self):
        self.at = len(self.device.queue)

    def synchronize(self):
        self.device.waits += self.device.done < self.at
        if not self.device.careless:
            self.device.run(self.at)


def draw(source, most):
    """Arrays of any kind, shape and order in memory; empty ones too."""
    arrays = []
    for _ in range(source.randrange(1, 6)):
        shape = tuple(source.randrange(0, most) for _ in range(source.randrange(1, 3)))
        array = np.random.default_rng(source.randrange(2**32)).integers(0, 2**30, shape).astype(source.choice(KINDS))
        arrays.append(array.T if source.random() < 0.3 else array)
    return arrays


def iterations(ring, device, count, most, seed=0):
    """What reads launched in each iteration found, beside what was sent: (sent, found), and kept
    tensors with what they are to hold.
    """
    source, seen, kept = random.Random(seed), [], []
    for _ in range(count):
        ring.begin()
        views = []
        for _ in range(source.randrange(1, 4)):
            arrays = draw(source, most)
            keeps = source.random() < 0.3
            tensors = (ring.keep if keeps else ring.bring)(*arrays)
            assert [tuple(t.shape) for t in tensors] == [a.shape for a in arrays]
            assert all(t.data_ptr() % 16 == 0 for t in tensors), "kernels have another form for odd addresses"
            views += zip([array.copy() for array in arrays], tensors, strict=True)
            if keeps:
                kept += views[-len(arrays) :]
            for array in arrays:
                array[...] = 0  # the caller may go on writing into its own
        for sent, tensor in views:
            device.queue.append(lambda sent=sent, tensor=tensor: seen.append((sent, tensor.clone().numpy())))
    device.run(len(device.queue))
    return seen, kept


def same(pairs):
    return all(sent.dtype == found.dtype and np.array_equal(sent, found) for sent, found in pairs)


@pytest.mark.parametrize("most", [20, 150])
def test_what_is_sent_arrives_and_what_is_kept_stays(most):
    """Large ones make slabs grow within an iteration, while earlier copies wait."""
    device = LateDevice()
    ring = UploadRing(CPU, device)
    seen, kept = iterations(ring, device, 60, most)
    assert same(seen) and len(seen) > 200
    assert same((sent, tensor.numpy()) for sent, tensor in kept) and len(kept) > 60
    assert device.waits > 10, "a ring that is never full shows nothing"
    assert (len(device.staged) > 3) == (most == 150)
    assert len(device.staged) < 12, "a slab that has grown stays so"


def test_control_a_slab_that_is_written_before_its_copy_is_seen():
    device = LateDevice(careless=True)
    seen, _ = iterations(UploadRing(CPU, device), device, 60, 20)
    assert not same(seen)


def test_two_iterations_ahead_wait_for_nothing():
    """The third begins when the first has been read; nobody has to have read the second."""
    device = LateDevice()
    ring, ends = UploadRing(CPU, device), []
    for number in range(20):
        ring.begin()
        ring.bring(np.arange(number + 1), np.arange(3))
        ring.bring(np.arange(5, dtype=np.int32))
        ends.append(len(device.queue))
        if number:
            device.run(ends[number - 1])
    assert device.waits == 0
    assert len(device.queue) == 40, "one copy for each call"


def test_a_slab_that_grew_in_inference_mode_is_written_outside_of_it():
    device = LateDevice()
    ring = UploadRing(CPU, device)
    with torch.inference_mode():
        ring.bring(np.zeros(2**16))
    for _ in range(4):
        ring.begin()
        (there,) = ring.bring(np.arange(2.0**14))
        device.run(len(device.queue))
        assert there[-1] == 2.0**14 - 1


def test_on_a_cpu_nothing_is_copied():
    upload = upload_for(CPU)
    assert isinstance(upload, PlainUpload)
    for send in (upload.bring, upload.keep):
        upload.begin()
        array = np.arange(6).reshape(2, 3)
        (tensor,) = send(array)
        array[1, 1] = 77
        assert tensor.tolist() == array.tolist()
