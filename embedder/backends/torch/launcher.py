"""Batches launched on a device that computes by itself, one behind the other.

A launch only tells the device what to do. While one caller waits for its vectors another launches
the next batch, so the device finds work whenever it ends some. All launches are on one stream:
a batch takes over the memory of the one before it, and two in flight need hardly more than one.
Knows nothing of models, nor which device it is.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

import torch

from embedder.backends.torch.copies import StartCopy
from embedder.core.types import TokenBatch, Vectors

CONCURRENT_BATCHES = 2
"""How many callers keep a device busy: one whose batch is computed, one whose batch is next."""


class Launcher:
    """Compute batches for `CONCURRENT_BATCHES` threads at once.

    ``compute`` launches a batch and returns its vectors before they are there; ``fetch`` begins
    to copy them.
    """

    def __init__(self, compute: Callable[[TokenBatch], torch.Tensor], fetch: StartCopy) -> None:
        self._compute = compute
        self._fetch = fetch
        self._launching = Lock()

    def encode(self, tokens: TokenBatch) -> Vectors:
        """Return float32[n, width] once they are there; others may launch meanwhile.

        Raises:
            RuntimeError: the device failed, or has no memory left; other batches are as they were.
        """
        with self._launching:
            fetched = self._fetch(self._compute(tokens))
        return fetched()
