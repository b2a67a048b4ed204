"""Batches launched on an asynchronous device one after the other.

A launch only queues work on the device. While one thread waits for its vectors, another thread
launches the next batch, so the device is never idle between batches. All launches use one stream:
a batch reuses the memory of the previous one, so two batches in flight need little more than one.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

import torch

from embedder.backends.torch.copies import StartCopy
from embedder.core.types import TokenBatch, Vectors

CONCURRENT_BATCHES = 2
"""The batches that keep a device busy: one is computed, the next one is queued."""


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
