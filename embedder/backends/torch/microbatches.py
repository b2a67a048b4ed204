"""A batch computed in pieces that the threads of a processor take in turn, one thread a piece.

Threads that share every operation wait for each other after every operation, and all of them wait
for one that another process has pushed off its core. Here they meet once a batch. A piece holds
inputs of like length and is small enough for a core's own cache. Knows nothing of models.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from threading import Thread

import numpy as np
import torch
from numpy.typing import NDArray

from embedder.core.types import TokenBatch, Vectors

Encode = Callable[[TokenBatch], Vectors]

MICROBATCH_TOKENS = 1024
"""The most tokens that a piece has, unless it is one input; for several threads it is half of it.

Activations of many more leave a core's cache. Threads that take more and smaller pieces end
together, though a piece of long inputs takes longer than one of short inputs.
"""

MIN_MICROBATCH_TOKENS = 64
"""A piece of fewer would leave a core's arithmetic idle while it waits for the weights."""


def split_batch(lengths: NDArray[np.int32], threads: int) -> list[NDArray[np.intp]]:
    """Return the numbers of the inputs of each piece; the longest inputs are in the first one."""
    total = int(lengths.sum())
    count = _piece_count(total, threads)
    by_length = np.argsort(-lengths, kind="stable")
    ends = np.cumsum(lengths[by_length], dtype=np.int64)
    pieces = (ends - 1) * count // max(total, 1)
    return np.split(by_length, np.flatnonzero(np.diff(pieces)) + 1)


def _piece_count(total: int, threads: int) -> int:
    """Return a multiple of ``threads``, except for a batch too small for all of them."""
    least = -(-total // (MICROBATCH_TOKENS if threads == 1 else MICROBATCH_TOKENS // 2))
    if least > 1:
        return -(-least // threads) * threads
    return max(1, min(threads, total // MIN_MICROBATCH_TOKENS))


def encode_in_microbatches(encode: Encode, tokens: TokenBatch, threads: int) -> Vectors:
    """Return float32[n, width], one row an input, in order.

    A batch of one piece is computed by the calling thread, with ``threads`` to each operation.

    Raises:
        Exception: the first that ``encode`` raised; pieces that had not begun are not computed.
    """
    pieces = split_batch(tokens.lengths, threads)
    if len(pieces) == 1:
        return encode(tokens)
    rows = tokens.rows()
    work = _Work(encode, [TokenBatch.of([rows[row] for row in piece]) for piece in pieces])
    work.run(threads)
    vectors: Vectors = np.concatenate(work.done)[np.argsort(np.concatenate(pieces))]
    return vectors


class _Work:
    """Pieces that are waiting and vectors that are done, in the order of the pieces."""

    def __init__(self, encode: Encode, pieces: list[TokenBatch]) -> None:
        self.done: list[Vectors] = [np.empty((0, 0), np.float32)] * len(pieces)
        self._encode = encode
        self._waiting = deque(enumerate(pieces))
        self._errors: list[BaseException] = []

    def run(self, threads: int) -> None:
        """Compute all pieces in the calling thread and in others that live as long as this call.

        New threads have the niceness of the one that starts them, which a pool's would not.
        """
        others = [Thread(target=self._take, name="piece") for _ in range(threads - 1)]
        started = []
        try:
            for other in others:
                other.start()
                started.append(other)
            self._take()
        finally:
            self._waiting.clear()
            for other in started:
                other.join()
            torch.set_num_threads(threads)
        if self._errors:
            raise self._errors[0]

    def _take(self) -> None:
        """Compute pieces until none waits, or until one fails."""
        torch.set_num_threads(1)
        try:
            for number, piece in self._rest():
                self.done[number] = self._encode(piece)
        except BaseException as error:  # noqa: BLE001 - raised again in the calling thread
            self._waiting.clear()
            self._errors.append(error)

    def _rest(self) -> Iterator[tuple[int, TokenBatch]]:
        while True:
            try:
                yield self._waiting.popleft()
            except IndexError:  # only this tells, where several threads take
                return
