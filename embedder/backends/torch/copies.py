"""Arrays sent to a device, and vectors fetched from it, without waiting for what it computes.

A GPU copies by itself from and to memory that the system never moves (pinned); torch keeps such
memory for the next batch. Knows nothing of models or batches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray

from embedder.core.types import Vectors

StartCopy = Callable[[torch.Tensor], Callable[[], Vectors]]
"""Begin to copy vectors from a device; what is returned waits for them and gives them."""


def to_device(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """Return a writable array as a tensor on a device.

    On a CPU it is the array itself. To a GPU it is copied behind whatever that has to do already.
    """
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class CopyStream:
    """Fetch vectors from a GPU while it computes what was launched after them.

    They are copied on a stream of their own, which waits for the vectors and for nothing else.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def __call__(self, vectors: torch.Tensor) -> Callable[[], Vectors]:
        """Begin to copy float32[n, width], computed by the calling thread's current stream."""
        self._copies.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._copies):
            here = torch.empty(vectors.shape, dtype=torch.float32, pin_memory=True)
            here.copy_(vectors, non_blocking=True)
            # Blocking: a thread that spins takes a core from those that tokenize.
            copied = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            copied.record(self._copies)
        # Else their memory would go to the next batch before they have left it.
        vectors.record_stream(self._copies)

        def fetched() -> Vectors:
            copied.synchronize()
            # A copy: pinned memory is scarce, and who asked may keep the vectors for long.
            found: Vectors = here.numpy().copy()
            return found

        return fetched
