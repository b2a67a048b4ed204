"""Truncation and normalization equal the same arithmetic in float64."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from embedder.core.errors import InvalidInput
from embedder.core.types import Vectors
from embedder.core.vectors import activate, check_dimensions, normalize_rows, truncate_and_normalize
from tests.unit.fake_model import MODEL

COMPONENTS = st.floats(-1e4, 1e4, width=32).map(lambda value: 0.0 if abs(value) < 1e-4 else value)
TABLES = arrays.arrays(
    np.float32, st.tuples(st.integers(0, 5), st.integers(1, 9)), elements=COMPONENTS
)


def _plain_unit(row: list[float]) -> list[float]:
    norm = math.sqrt(math.fsum(value * value for value in row))
    return [value / norm for value in row] if norm else row


@given(TABLES)
def test_normalized_rows_have_length_1_and_keep_their_direction(vectors: Vectors) -> None:
    expected = [_plain_unit(row) for row in vectors.tolist()]

    scaled = normalize_rows(vectors)

    assert scaled.dtype == np.float32
    assert scaled.shape == vectors.shape
    np.testing.assert_allclose(scaled, np.reshape(expected, vectors.shape), rtol=1e-5, atol=1e-6)


def test_a_row_of_zeros_stays_zero() -> None:
    scaled = normalize_rows(np.array([[0, 0], [3, 4]], np.float32))

    np.testing.assert_allclose(scaled, np.array([[0, 0], [0.6, 0.8]]), rtol=1e-6)


@given(TABLES, st.data())
def test_rows_are_truncated_before_they_are_normalized(
    vectors: Vectors, data: st.DataObject
) -> None:
    kept = data.draw(st.integers(1, vectors.shape[1]))
    expected = [_plain_unit(row[:kept]) for row in vectors.tolist()]

    finished = truncate_and_normalize(vectors, dimensions=kept, normalize=True)

    assert finished.shape == (len(vectors), kept)
    np.testing.assert_allclose(finished, np.reshape(expected, finished.shape), rtol=1e-5, atol=1e-6)


@given(TABLES, st.data())
def test_without_normalization_components_stay_unchanged(
    vectors: Vectors, data: st.DataObject
) -> None:
    kept = data.draw(st.integers(1, vectors.shape[1]))

    assert truncate_and_normalize(vectors, dimensions=kept, normalize=False).tolist() == [
        row[:kept] for row in vectors.tolist()
    ]
    assert (
        truncate_and_normalize(vectors, dimensions=None, normalize=False).tolist()
        == vectors.tolist()
    )


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("dimensions", [None, 1, 3])
def test_the_result_shares_no_memory_with_the_argument(
    dimensions: int | None, normalize: bool
) -> None:
    vectors = np.eye(3, dtype=np.float32)

    finished = truncate_and_normalize(vectors, dimensions=dimensions, normalize=normalize)
    finished[:] = 9

    assert vectors.tolist() == np.eye(3).tolist()


@given(st.integers(1, 9), st.lists(st.integers(1, 9)), st.integers(-2, 12))
def test_exactly_the_full_width_and_matryoshka_widths_are_accepted(
    width: int, others: list[int], dimensions: int
) -> None:
    model = replace(MODEL, width=width, matryoshka=tuple(min(one, width) for one in others))
    if dimensions in (width, *model.matryoshka):
        check_dimensions(dimensions, model)
        return

    with pytest.raises(InvalidInput) as caught:
        check_dimensions(dimensions, model)

    assert caught.value.field == "dimensions"
    assert f"is {dimensions};" in caught.value.problem
    assert str(width) in caught.value.problem


@pytest.mark.parametrize(
    ("matryoshka", "sentence"),
    [
        ((256, 64), "'sums' has widths 384, 256, 64"),
        ((64, 384, 256), "'sums' has widths 384, 256, 64"),
        (tuple(range(384, 31, -1)), "'sums' has widths 384 to 32"),
        ((*range(100, 110), 50), "'sums' has widths 384, 109 to 100, 50"),
        ((), "'sums' has width 384 only"),
        ((), "the setting model.matryoshka"),
    ],
)
def test_a_refused_width_is_answered_with_the_accepted_widths(
    matryoshka: tuple[int, ...], sentence: str
) -> None:
    model = replace(MODEL, width=384, matryoshka=matryoshka)

    with pytest.raises(InvalidInput, match=re.escape(sentence)):
        check_dimensions(4, model)


def test_dimensions_none_means_the_full_width() -> None:
    whole = np.arange(6, dtype=np.float32).reshape(2, 3)

    check_dimensions(None, MODEL)

    assert truncate_and_normalize(whole, dimensions=None, normalize=False).shape == whole.shape


def test_activations_of_large_scores_keep_their_order_without_overflow() -> None:
    scores = np.array([[-1e4, -80.0, -20.0, 0.0, 3.0, 1e4]], np.float32)

    sigmoid = activate(scores, "sigmoid")

    expected = [0, 1.8e-35, 2.0611537e-09, 0.5, 0.95257413, 1]
    np.testing.assert_allclose(sigmoid[0], expected, rtol=1e-2)
    assert sigmoid.dtype == np.float32
    assert activate(scores, "identity") is scores
    assert activate(scores, "relu").tolist() == [[0, 0, 0, 0, 3, 1e4]]
    np.testing.assert_allclose(activate(scores, "tanh")[0, 3:5], [0, 0.9950548])
