"""The probe is the same each time, and its agreement is that of the worst vector."""

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
def test_the_probe_stays_within_the_model(vocabulary_size: int, max_tokens: int) -> None:
    probe = reference_batch(vocabulary_size, max_tokens)

    assert 0 <= probe.ids.min() <= probe.ids.max() < vocabulary_size
    assert 1 <= probe.lengths.min() <= probe.lengths.max() <= max_tokens


def test_the_probe_is_the_same_each_time_and_of_many_lengths() -> None:
    first, second = reference_batch(1000, 512), reference_batch(1000, 512)

    assert (first.ids == second.ids).all()
    assert len(set(first.lengths.tolist())) == len(first)


def test_the_worst_vector_decides_whatever_its_length() -> None:
    exact = np.array([[3, 4], [0, 5]], np.float32)
    fast = np.array([[6, 8], [3, 4]], np.float32)

    assert min_cosine(exact, fast) == pytest.approx(0.8)


def test_what_is_not_finite_agrees_with_nothing() -> None:
    exact = np.ones((2, 2), np.float32)
    fast = np.array([[1, 1], [np.nan, 1]], np.float32)

    assert math.isnan(min_cosine(exact, fast))


def test_a_device_of_another_kind_is_trusted_with_float32_only() -> None:
    assert not has_fast_bfloat16(torch.device("mps"))


def test_a_long_probe_goes_beyond_one_tile_of_a_kernel_where_the_model_can() -> None:
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
def test_the_narrow_format_is_bfloat16_or_what_every_gpu_has(
    monkeypatch: pytest.MonkeyPatch, device: str, in_hardware: bool, expected: str | None
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: in_hardware)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: in_hardware)

    assert reduced_precision(torch.device(device)) == expected
