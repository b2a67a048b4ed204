"""Batches have the shapes that the axes say, and times are those of an input or of a batch."""

from __future__ import annotations

from functools import partial
from typing import cast

import numpy as np
import pytest

from benchmarks.scaling import encoder_axes
from benchmarks.scaling.encoder_axes import (
    BATCH_TOKENS,
    INPUT_TOKENS,
    QUICK_LENGTHS,
    QUICK_SIZES,
    by_batch,
    by_length,
    drawn,
)
from benchmarks.scaling.rounds import median_seconds
from embedder.backends.protocol import Backend
from embedder.core.types import TokenBatch, Vectors
from tests.unit.benchmarks.scaling.outcomes import ignored, quick

WORK_S = 0.002


class FakeBackend:
    """Takes the same time of its own clock for every batch, and notes what is in it."""

    def __init__(self) -> None:
        self.asked: set[tuple[int, int]] = set()
        self.now_s = 0.0

    def encode(self, tokens: TokenBatch) -> Vectors:
        """Note how many inputs there are, and of how many tokens."""
        assert len(set(tokens.lengths)) == 1
        self.asked.add((len(tokens), int(tokens.lengths[0])))
        self.now_s += WORK_S
        return np.zeros((len(tokens), 1), np.float32)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    """Return a backend by whose clock the axes measure."""
    backend = FakeBackend()
    measure = partial(median_seconds, clock=lambda: backend.now_s)
    monkeypatch.setattr(encoder_axes, "median_seconds", measure)
    return backend


def test_batches_of_the_first_axis_have_equal_tokens_for_every_length(
    backend: FakeBackend,
) -> None:
    found = by_length(cast("Backend", backend), quick(), ignored)

    assert backend.asked == {(BATCH_TOKENS // length, length) for length in QUICK_LENGTHS}
    for point in found.points:
        inputs = BATCH_TOKENS // int(point.x)
        assert min(point.rounds) * inputs == pytest.approx(1000 * WORK_S)


def test_batches_of_the_second_axis_have_inputs_of_one_length(backend: FakeBackend) -> None:
    found = by_batch(cast("Backend", backend), quick(), ignored)

    assert backend.asked == {(size, INPUT_TOKENS) for size in QUICK_SIZES}
    for point in found.points:
        assert point.rounds == pytest.approx([1000 * WORK_S] * len(point.rounds))


def test_drawn_inputs_depend_on_the_seed_alone() -> None:
    tokens = drawn([3, 4], 1)

    assert tokens.lengths.tolist() == [3, 4]
    assert tokens.ids.dtype == np.int32
    assert len(tokens.ids) == 7
    assert (tokens.ids == drawn([3, 4], 1).ids).all()
    assert (tokens.ids != drawn([3, 4], 2).ids).any()
