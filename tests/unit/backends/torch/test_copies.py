"""Vectors are copied on a separate stream, and returned when the copy is complete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from embedder.backends.torch import launcher
from embedder.backends.torch.launcher import CopyStream, to_device


class FakeCuda:
    """Streams and events that record their calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.now = "compute"

    def current_stream(self, device: torch.device) -> str:
        """Return the stream that computes."""
        return self.now

    @contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        """Make another stream current."""
        before, self.now = self.now, "copies"
        yield
        self.now = before

    def Stream(self, device: torch.device) -> SimpleNamespace:  # noqa: N802 - torch's name
        """Return a stream."""
        return SimpleNamespace(
            wait_stream=lambda other: self.calls.append(f"copies wait for {other}")
        )

    def Event(self, *, blocking: bool) -> SimpleNamespace:  # noqa: N802 - torch's name
        """Return an event."""
        assert blocking
        return SimpleNamespace(
            record=lambda stream: self.calls.append(f"event on {self.now}"),
            synchronize=lambda: self.calls.append("event awaited"),
        )


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()

    def pinned(shape: torch.Size, *, dtype: torch.dtype, pin_memory: bool) -> torch.Tensor:
        assert pin_memory
        fake.calls.append(f"buffer on {fake.now}")
        return torch.zeros(shape, dtype=dtype)

    monkeypatch.setattr(
        launcher, "torch", SimpleNamespace(cuda=fake, empty=pinned, float32=torch.float32)
    )
    return fake


def _computed(cuda: FakeCuda) -> torch.Tensor:
    vectors = torch.arange(6.0).view(2, 3).bfloat16()
    methods = {"record_stream": lambda stream: cuda.calls.append("memory reserved for the copies")}
    vars(vectors).update(methods)
    return vectors


def test_vectors_are_copied_after_their_computation_and_awaited_by_an_event(
    cuda: FakeCuda,
) -> None:
    wait = CopyStream(torch.device("cuda"))(_computed(cuda))

    assert cuda.calls == [
        "copies wait for compute",
        "buffer on copies",
        "event on copies",
        "memory reserved for the copies",
    ]
    vectors = wait()
    assert cuda.calls[-1] == "event awaited"
    assert vectors.dtype == np.float32
    assert vectors.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_the_returned_vectors_hold_no_pinned_memory(cuda: FakeCuda) -> None:
    vectors = CopyStream(torch.device("cuda"))(_computed(cuda))()

    assert vectors.base is None


def test_an_array_for_a_cpu_is_not_copied() -> None:
    array = np.arange(5)

    tensor = to_device(array, torch.device("cpu"))
    array[0] = 9

    assert tensor.tolist() == [9, 1, 2, 3, 4]
