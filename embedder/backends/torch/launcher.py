"""Batches on an asynchronous device, and copies to and from it that do not wait for computations.

A GPU copies asynchronously only from and to pinned memory. torch keeps pinned memory for reuse. A
launch only queues work on the device. While one thread waits for its vectors, another thread
launches the next batch, so the device is never idle between batches. All launches use one stream: a
batch reuses the memory of the previous one, so two batches in flight need little more than one.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

import torch
from numpy.typing import NDArray

from embedder.core.types import TokenBatch, Vectors

CONCURRENT_BATCHES = 2
"""The batches that keep a device busy: one is computed, the next one is queued."""

StartCopy = Callable[[torch.Tensor], Callable[[], Vectors]]
"""Starts a copy of vectors from a device; the returned function waits for it and returns them."""


def to_device(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """Return a writable array as a tensor on a device.

    On a CPU the tensor shares the array's memory. On a GPU the copy is queued behind earlier work.
    """
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class CopyStream:
    """Copies vectors from a GPU while it computes later batches.

    The copies have their own CUDA stream, which waits for the vectors and for nothing else.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def __call__(self, vectors: torch.Tensor) -> Callable[[], Vectors]:
        """Start to copy float32[n, width], computed by the calling thread's current stream."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            pinned = torch.empty(vectors.shape, dtype=torch.float32, pin_memory=True)
            pinned.copy_(vectors, non_blocking=True)
            # blocking=True: a spinning thread would take a core from the tokenizer's threads.
            copied = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            copied.record(self._stream)
        # Without this, the next batch could reuse the memory before it is copied.
        vectors.record_stream(self._stream)

        def wait() -> Vectors:
            copied.synchronize()
            # A copy, because pinned memory is scarce and the caller may keep the vectors.
            found: Vectors = pinned.numpy().copy()
            return found

        return wait


class Launcher:
    """Computes batches for `CONCURRENT_BATCHES` threads at once.

    ``launch`` queues the computation of a batch and returns its future vectors.
    """

    def __init__(self, launch: Callable[[TokenBatch], torch.Tensor], start_copy: StartCopy) -> None:
        self._launch = launch
        self._start_copy = start_copy
        self._lock = Lock()

    def encode(self, tokens: TokenBatch) -> Vectors:
        """Return float32[n, width] when they are computed; other threads may launch meanwhile.

        Raises:
            RuntimeError: the device failed or has no memory left; other batches are not affected.
        """
        with self._lock:
            wait = self._start_copy(self._launch(tokens))
        return wait()
