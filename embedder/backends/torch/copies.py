"""Copies of arrays to a device and of vectors from it, without waiting for its computations.

A GPU copies asynchronously only from and to pinned memory. torch keeps pinned memory for reuse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray

from embedder.core.types import Vectors

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
