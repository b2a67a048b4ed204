"""A batch computed in micro-batches by several threads of a CPU, each on one thread.

Threads that share every operation wait for each other after every operation, and for any thread
that lost its core to another process. Here they wait once per batch. A micro-batch holds inputs of
similar length and fits into the cache of a core.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Thread
from typing import TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray

from embedder.core.outputs import OutputKind, RaggedRows
from embedder.core.types import Rows, TokenBatch, Vectors

T = TypeVar("T")
Encode = Callable[[TokenBatch], Vectors]
Results = Mapping[OutputKind, Rows]

MICROBATCH_TOKENS = 1024
"""The most tokens of a micro-batch, unless it is one input; half of it for several threads.

The activations of more tokens leave the cache of a core. With smaller micro-batches the threads
finish at about the same time, although long inputs take longer than short ones.
"""

MIN_MICROBATCH_TOKENS = 64
"""With fewer tokens a core would mostly wait for the weights to arrive from memory."""


def split_batch(lengths: NDArray[np.int32], threads: int) -> list[NDArray[np.intp]]:
    """Return the input numbers of each micro-batch, from the longest inputs to the shortest."""
    total = int(lengths.sum())
    count = _microbatch_count(total, threads)
    by_length = np.argsort(-lengths, kind="stable")
    ends = np.cumsum(lengths[by_length], dtype=np.int64)
    microbatches = (ends - 1) * count // max(total, 1)
    return np.split(by_length, np.flatnonzero(np.diff(microbatches)) + 1)


def _microbatch_count(total: int, threads: int) -> int:
    """Return a multiple of ``threads``, except for a batch too small for all of them."""
    count = -(-total // (MICROBATCH_TOKENS if threads == 1 else MICROBATCH_TOKENS // 2))
    if count > 1:
        return -(-count // threads) * threads
    return max(1, min(threads, total // MIN_MICROBATCH_TOKENS))


def encode_in_microbatches(encode: Encode, tokens: TokenBatch, threads: int) -> Vectors:
    """Return float32[n, width], one row per input, in order; as `compute_in_microbatches`."""
    return compute_in_microbatches(encode, tokens, threads, _joined_vectors)


def compute_in_microbatches(
    compute: Callable[[TokenBatch], T],
    tokens: TokenBatch,
    threads: int,
    join: Callable[[Sequence[T], NDArray[np.intp]], T],
) -> T:
    """Return the result of a batch; ``join`` takes those of micro-batches and the inputs' order.

    A single micro-batch is computed by the calling thread, with ``threads`` for each operation.

    Raises:
        Exception: the first that ``compute`` raised; no further micro-batch is started.
    """
    microbatches = split_batch(tokens.lengths, threads)
    if len(microbatches) == 1:
        return compute(tokens)
    items = tokens.items()
    # The threads share one iterator, and each takes the next micro-batch from it.
    queue = enumerate([TokenBatch.of([items[row] for row in each]) for each in microbatches])
    results: list[T | None] = [None] * len(microbatches)
    errors: list[BaseException] = []

    def run() -> None:
        torch.set_num_threads(1)
        try:
            for number, microbatch in queue:
                results[number] = compute(microbatch)
        except BaseException as error:  # noqa: BLE001 - raised again in the calling thread
            errors.append(error)
            list(queue)  # nothing is left for the other threads

    _run(run, threads)
    if errors:
        raise errors[0]
    return join(cast("list[T]", results), np.argsort(np.concatenate(microbatches)))


def joined(parts: Sequence[Results], order: NDArray[np.intp]) -> Results:
    """Return the results of all parts, each kind's rows in the given order."""
    results: dict[OutputKind, Rows] = {}
    for kind, first in parts[0].items():
        rows = [part[kind] for part in parts]
        if isinstance(first, RaggedRows):
            results[kind] = RaggedRows.concatenate(cast("list[RaggedRows]", rows)).take(order)
        else:
            results[kind] = _joined_vectors(cast("list[Vectors]", rows), order)
    return results


def _joined_vectors(parts: Sequence[Vectors], order: NDArray[np.intp]) -> Vectors:
    found: Vectors = np.concatenate(parts)[order]
    return found


def _run(compute: Callable[[], None], threads: int) -> None:
    """Run a function in the calling thread and in ``threads - 1`` new ones.

    New threads inherit the niceness of the calling thread; those of a pool would not.
    """
    others = [Thread(target=compute, name="micro-batch") for _ in range(threads - 1)]
    started = []
    try:
        for other in others:
            other.start()
            started.append(other)
        compute()
    finally:
        for other in started:
            other.join()
        torch.set_num_threads(threads)
