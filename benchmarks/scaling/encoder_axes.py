"""Two axes of the encoder in this process, with one thread: length of an input, size of a batch.

Their inputs are drawn tokens, because the words do not change the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from benchmarks.scaling.laws import fixed_and_each, linear_and_square
from benchmarks.scaling.options import Options
from benchmarks.scaling.rounds import Report, in_turn, median_seconds
from benchmarks.scaling.series import Series, series
from embedder.backends.protocol import Backend
from embedder.backends.torch.backend import TorchBackend
from embedder.core.types import TokenBatch
from embedder.models.files import ModelFiles
from embedder.settings.model import BackendSettings, ModelSettings

LENGTHS = (8, 16, 32, 64, 128, 256)
QUICK_LENGTHS = (8, 32, 128, 256)
BATCH_TOKENS = 512
"""About how many tokens a batch of the first axis has, whatever the length of its inputs."""

SIZES = (1, 2, 4, 8, 16, 32, 64)
QUICK_SIZES = (1, 4, 16, 64)
INPUT_TOKENS = 20
"""How long every input of the second axis is."""

LEAST_ID, MOST_ID = 2_000, 20_000
"""Words of the vocabulary, and none of its special tokens."""


def length(options: Options, report: Report) -> list[Series]:
    """Measure the milliseconds of an input by its tokens."""
    with one_thread_encoder() as backend:
        return [by_length(backend, options, report)]


def batch(options: Options, report: Report) -> list[Series]:
    """Measure the milliseconds of a batch by its inputs."""
    with one_thread_encoder() as backend:
        return [by_batch(backend, options, report)]


def by_length(backend: Backend, options: Options, report: Report) -> Series:
    """Return the series of the first axis, as this backend gives it."""

    def work(tokens: int) -> float:
        count = max(1, BATCH_TOKENS // tokens)
        inputs = drawn([tokens] * count, options.seed)
        return 1000 * median_seconds(lambda: backend.encode(inputs), options.in_process_s) / count

    places = options.choose(LENGTHS, QUICK_LENGTHS)
    found = in_turn(places, work, rounds=options.rounds, report=report)
    return series("", [*found.items()], linear_and_square)


def by_batch(backend: Backend, options: Options, report: Report) -> Series:
    """Return the series of the second axis, as this backend gives it."""

    def work(count: int) -> float:
        inputs = drawn([INPUT_TOKENS] * count, options.seed)
        return 1000 * median_seconds(lambda: backend.encode(inputs), options.in_process_s)

    places = options.choose(SIZES, QUICK_SIZES)
    found = in_turn(places, work, rounds=options.rounds, report=report)
    return series("", [*found.items()], fixed_and_each)


def drawn(lengths: Sequence[int], seed: int) -> TokenBatch:
    """Return inputs of these lengths, the same for the same seed."""
    chance = np.random.default_rng(seed)
    ids = chance.integers(LEAST_ID, MOST_ID, sum(lengths), np.int32)
    return TokenBatch(ids, np.asarray(lengths, np.int32))


@contextmanager
def one_thread_encoder() -> Iterator[TorchBackend]:
    """Load the encoder of the default model; torch has one thread until the end."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        settings = BackendSettings(device="cpu", dtype="auto", threads=1)
        yield TorchBackend.load(ModelFiles.open(ModelSettings(offline=True)), settings)
    finally:
        torch.set_num_threads(before)
