"""Concurrent batches: launched one by one, returned when they arrive, independent in failure."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from embedder.backends.torch.launcher import CONCURRENT_BATCHES, Launcher
from embedder.core.types import TokenBatch, Vectors
from tests.unit.waiting import LONG_S, eventually


class ManualDevice:
    """A device whose results arrive when the test calls `arrive`."""

    def __init__(self) -> None:
        self.launched: list[int] = []
        self.arrived: dict[int, threading.Event] = {}
        self.launching = 0
        self.most_launching = 0

    def launch(self, tokens: TokenBatch) -> torch.Tensor:
        """Launch a batch whose first id is its number; a negative one fails."""
        self.launching += 1
        self.most_launching = max(self.most_launching, self.launching)
        number = int(tokens.ids[0])
        self.arrived[number] = threading.Event()
        self.launching -= 1
        if number < 0:
            raise torch.OutOfMemoryError("no memory left")
        self.launched.append(number)
        return torch.full((1, 2), float(number))

    def start_copy(self, vectors: torch.Tensor) -> Callable[[], Vectors]:
        """Return a batch after `arrive`; batch 13 fails in the copy."""
        number = int(vectors[0, 0])

        def wait() -> Vectors:
            assert self.arrived[number].wait(LONG_S)
            if number == 13:
                raise RuntimeError("an illegal memory access was encountered")
            found: Vectors = vectors.numpy().astype(np.float32)
            return found

        return wait

    def arrive(self, number: int) -> None:
        """Let a batch arrive once it is launched."""
        assert eventually(lambda: number in self.arrived)
        self.arrived[number].set()


def _batch(number: int) -> TokenBatch:
    return TokenBatch.of([[number]])


@pytest.fixture
def device() -> ManualDevice:
    return ManualDevice()


def test_a_batch_is_launched_while_another_is_computed(device: ManualDevice) -> None:
    launcher = Launcher(device.launch, device.start_copy)
    with ThreadPoolExecutor(CONCURRENT_BATCHES) as pool:
        first, second = (pool.submit(launcher.encode, _batch(number)) for number in (1, 2))
        device.arrive(2)  # returns after the second is launched

        assert second.result(LONG_S).tolist() == [[2, 2]]
        assert not first.done()
        device.arrive(1)
        assert first.result(LONG_S).tolist() == [[1, 1]]


def test_every_batch_has_its_own_vectors_and_launches_never_overlap(device: ManualDevice) -> None:
    launcher = Launcher(device.launch, device.start_copy)
    numbers = list(range(20, 60))
    with ThreadPoolExecutor(CONCURRENT_BATCHES) as pool:
        batches = [pool.submit(launcher.encode, _batch(number)) for number in numbers]
        for number in numbers:
            device.arrive(number)
        found = [batch.result(LONG_S)[0, 0] for batch in batches]

    assert found == numbers
    assert sorted(device.launched) == numbers
    assert device.most_launching == 1


def test_a_failed_launch_does_not_affect_other_batches(device: ManualDevice) -> None:
    launcher = Launcher(device.launch, device.start_copy)
    with ThreadPoolExecutor(CONCURRENT_BATCHES) as pool:
        first = pool.submit(launcher.encode, _batch(1))
        failed = pool.submit(launcher.encode, _batch(-1))
        with pytest.raises(torch.OutOfMemoryError, match="no memory left"):
            failed.result(LONG_S)
        third = pool.submit(launcher.encode, _batch(3))
        device.arrive(3)
        device.arrive(1)

        assert [first.result(LONG_S)[0, 0], third.result(LONG_S)[0, 0]] == [1, 3]


def test_a_failed_copy_does_not_affect_other_batches(device: ManualDevice) -> None:
    launcher = Launcher(device.launch, device.start_copy)
    with ThreadPoolExecutor(CONCURRENT_BATCHES) as pool:
        lost, other = (pool.submit(launcher.encode, _batch(number)) for number in (13, 14))
        device.arrive(13)
        device.arrive(14)

        with pytest.raises(RuntimeError, match="illegal memory access"):
            lost.result(LONG_S)
        assert other.result(LONG_S)[0, 0] == 14
