"""Micro-batches hold every input once, and the vectors are in the order of the inputs."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from embedder.backends.torch.microbatches import (
    MICROBATCH_TOKENS,
    MIN_MICROBATCH_TOKENS,
    encode_in_microbatches,
    split_batch,
)
from embedder.core.types import TokenBatch, Vectors
from tests.unit.waiting import LONG_S

LENGTHS = st.lists(st.integers(1, 600), max_size=40)
THREADS = st.integers(1, 4)


def _split(lengths: list[int], threads: int) -> list[list[int]]:
    return [microbatch.tolist() for microbatch in split_batch(np.array(lengths, np.int32), threads)]


def _batch(lengths: list[int]) -> TokenBatch:
    """Return a batch in which each input repeats its own number."""
    return TokenBatch.of([[number] * length for number, length in enumerate(lengths)])


def _first_ids(tokens: TokenBatch) -> Vectors:
    return np.array([[row[0], len(row)] for row in tokens.rows()], np.float32).reshape(-1, 2)


@given(LENGTHS, THREADS)
def test_every_input_is_in_exactly_one_microbatch(lengths: list[int], threads: int) -> None:
    placed = [number for microbatch in _split(lengths, threads) for number in microbatch]

    assert sorted(placed) == list(range(len(lengths)))


@given(LENGTHS, THREADS)
def test_microbatches_go_from_the_longest_inputs_to_the_shortest(
    lengths: list[int], threads: int
) -> None:
    sizes = [lengths[number] for microbatch in _split(lengths, threads) for number in microbatch]

    assert sizes == sorted(lengths, reverse=True)


@given(LENGTHS, THREADS)
def test_a_microbatch_exceeds_the_limit_by_less_than_one_input(
    lengths: list[int], threads: int
) -> None:
    for microbatch in _split(lengths, threads):
        assert sum(lengths[number] for number in microbatch[1:]) <= MICROBATCH_TOKENS


@given(LENGTHS, THREADS)
def test_no_batch_is_split_more_than_its_threads_need(lengths: list[int], threads: int) -> None:
    microbatches, total = len(_split(lengths, threads)), sum(lengths)

    assert microbatches <= threads * max(1, -(-total // (MICROBATCH_TOKENS // 2)))
    if total < 2 * MIN_MICROBATCH_TOKENS:
        assert microbatches == 1


@pytest.mark.parametrize("threads", [2, 4])
def test_inputs_of_one_length_are_split_equally(threads: int) -> None:
    for count in (threads * 4, threads * 100):
        sizes = [len(microbatch) for microbatch in _split([64] * count, threads)]

        assert len(sizes) % threads == 0
        assert max(sizes) - min(sizes) <= 1


@given(LENGTHS, THREADS)
def test_vectors_are_in_the_order_of_the_inputs(lengths: list[int], threads: int) -> None:
    tokens = _batch(lengths)

    found = encode_in_microbatches(_first_ids, tokens, threads)

    assert (found == _first_ids(tokens)).all()


def test_microbatches_are_computed_concurrently_on_one_thread_each() -> None:
    barrier = threading.Barrier(2, timeout=LONG_S)

    def encode(tokens: TokenBatch) -> Vectors:
        barrier.wait()  # fails unless both are computed at once
        assert torch.get_num_threads() == 1
        return _first_ids(tokens)

    found = encode_in_microbatches(encode, _batch([100, 100]), 2)

    assert found[:, 0].tolist() == [0, 1]
    assert torch.get_num_threads() == 2


def test_a_single_input_is_computed_by_the_caller_with_all_threads() -> None:
    torch.set_num_threads(2)

    def encode(tokens: TokenBatch) -> Vectors:
        assert torch.get_num_threads() == 2
        assert threading.current_thread() is threading.main_thread()
        return _first_ids(tokens)

    assert encode_in_microbatches(encode, _batch([300]), 2).tolist() == [[0, 300]]


@pytest.mark.parametrize("error", [ValueError("broken"), IndexError("broken")])
@pytest.mark.parametrize("failing", [0, 1, 7])
def test_an_error_of_any_microbatch_is_raised_and_ends_the_others(
    error: Exception, failing: int
) -> None:
    started = []

    def encode(tokens: TokenBatch) -> Vectors:
        started.append(len(tokens))
        if failing in tokens.ids:
            raise error
        return _first_ids(tokens)

    with pytest.raises(type(error), match="broken"):
        encode_in_microbatches(encode, _batch([512] * 8), 2)

    assert 1 <= len(started) <= 8
    assert not [thread for thread in threading.enumerate() if thread.name == "micro-batch"]
