"""The reference batch is always the same, and the worst vector decides."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from embedder.backends.precision import (
    LONG_LENGTHS,
    has_fast_bfloat16,
    min_cosine,
    reduced_precision,
    reference_batch,
)


@given(st.integers(1, 60_000), st.integers(1, 512))
def test_the_reference_batch_respects_the_limits_of_the_model(
    vocabulary_size: int, max_tokens: int
) -> None:
    batch = reference_batch(vocabulary_size, max_tokens)

    assert 0 <= batch.ids.min() <= batch.ids.max() < vocabulary_size
    assert 1 <= batch.lengths.min() <= batch.lengths.max() <= max_tokens


def test_the_reference_batch_is_always_the_same_and_of_many_lengths() -> None:
    first, second = reference_batch(1000, 512), reference_batch(1000, 512)

    assert (first.ids == second.ids).all()
    assert len(set(first.lengths.tolist())) == len(first)


def test_the_worst_vector_decides_whatever_its_length() -> None:
    exact = np.array([[3, 4], [0, 5]], np.float32)
    fast = np.array([[6, 8], [3, 4]], np.float32)

    assert min_cosine(exact, fast) == pytest.approx(0.8)


def test_the_cosine_of_values_that_are_not_finite_is_nan() -> None:
    exact = np.ones((2, 2), np.float32)
    fast = np.array([[1, 1], [np.nan, 1]], np.float32)

    assert math.isnan(min_cosine(exact, fast))


def test_other_devices_have_no_fast_bfloat16() -> None:
    assert not has_fast_bfloat16(torch.device("mps"))


def test_a_long_reference_batch_exceeds_a_kernel_tile_if_the_model_allows() -> None:
    assert max(reference_batch(1000, 512, LONG_LENGTHS).lengths) == 512
    assert max(reference_batch(1000, 40, LONG_LENGTHS).lengths) == 40


@pytest.mark.parametrize(
    ("device", "in_hardware", "expected"),
    [
        ("cuda", True, "bfloat16"),
        ("cuda", False, "float16"),
        ("cpu", True, "bfloat16"),
        ("cpu", False, None),
        ("mps", True, None),
    ],
)
def test_reduced_precision_is_bfloat16_or_float16_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, device: str, in_hardware: bool, expected: str | None
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: in_hardware)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: in_hardware)

    assert reduced_precision(torch.device(device)) == expected
