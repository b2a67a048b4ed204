"""Codes of vectors, against those of sentence-transformers and against what they stand for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sentence_transformers.util.quantization import quantize_embeddings

from embedder.core.errors import InvalidInput
from embedder.core.quantization import OutputDtype, check_quantizable, dequantize, quantize
from embedder.core.types import Vectors
from embedder.core.vectors import normalize_rows

ONE_BYTE = (OutputDtype.INT8, OutputDtype.UINT8)
ONE_BIT = (OutputDtype.BINARY, OutputDtype.UBINARY)
KINDS = {
    OutputDtype.FLOAT32: np.float32,
    OutputDtype.FLOAT16: np.float16,
    OutputDtype.INT8: np.int8,
    OutputDtype.UINT8: np.uint8,
    OutputDtype.BINARY: np.int8,
    OutputDtype.UBINARY: np.uint8,
}
TABLES = arrays(
    np.float32,
    st.tuples(st.integers(0, 4), st.integers(1, 40)),
    elements=st.floats(-1, 1, width=32),
)


def random_rows(count: int, width: int, seed: int = 5) -> Vectors:
    """Draw unit rows whose directions are spread evenly."""
    drawn = np.random.default_rng(seed).standard_normal((count, width))
    return normalize_rows(drawn.astype(np.float32))


def reach(width: int) -> float:
    """Return the end of the range that the documentation states."""
    return min(1.0, 6 / math.sqrt(width))


def peer(vectors: Vectors, dtype: OutputDtype) -> NDArray[Any]:
    """Return what sentence-transformers makes of vectors, with the documented range."""
    end = np.full(vectors.shape[1], reach(vectors.shape[1]), np.float32)
    precision: Any = dtype.value
    codes = quantize_embeddings(vectors, precision=precision, ranges=np.stack([-end, end]))
    assert isinstance(codes, np.ndarray)
    return codes


@pytest.mark.parametrize("dtype", [*ONE_BYTE, *ONE_BIT])
@given(TABLES)
def test_codes_are_those_of_sentence_transformers(dtype: OutputDtype, vectors: Vectors) -> None:
    codes = quantize(vectors, dtype)
    expected = peer(vectors, dtype)

    assert codes.dtype == expected.dtype
    assert codes.tolist() == expected.tolist()


@pytest.mark.parametrize("dtype", [*ONE_BYTE, *ONE_BIT])
@pytest.mark.parametrize("width", [384, 768, 1023])
def test_codes_of_widths_that_models_have_are_those_of_sentence_transformers(
    dtype: OutputDtype, width: int
) -> None:
    vectors = random_rows(50, width)

    assert np.array_equal(quantize(vectors, dtype), peer(vectors, dtype))


@pytest.mark.parametrize("dtype", OutputDtype)
@pytest.mark.parametrize("count", [0, 3])
def test_every_format_has_its_type_and_its_shape(dtype: OutputDtype, count: int) -> None:
    codes = quantize(random_rows(count, 13), dtype)

    assert codes.dtype == KINDS[dtype]
    assert codes.shape == (count, 2 if dtype in ONE_BIT else 13)


@pytest.mark.parametrize(
    ("dtype", "codes"),
    [
        (OutputDtype.UBINARY, [0b10110000, 0b10000000]),
        (OutputDtype.BINARY, [0b10110000 - 128, 0]),
    ],
)
def test_bits_stand_for_signs_and_zero_is_none_of_the_positive(
    dtype: OutputDtype, codes: list[int]
) -> None:
    vector = np.array([[0.5, -0.5, 1e-9, 0.1, 0, -0.0, -1, -1, 0.2]], np.float32)

    assert quantize(vector, dtype).tolist() == [codes]


@pytest.mark.parametrize(
    ("dtype", "least", "most"), [(OutputDtype.UINT8, 0, 255), (OutputDtype.INT8, -128, 127)]
)
@pytest.mark.parametrize("width", [4, 384, 4096])
def test_numbers_outside_of_the_range_are_clipped_and_never_wrapped(
    dtype: OutputDtype, least: int, most: int, width: int
) -> None:
    end = reach(width)
    vector = np.zeros((1, width), np.float32)
    vector[0, :4] = [-end * 1.01, end * 1.01, -3e38, 3e38]

    codes = quantize(vector, dtype)[0]

    assert codes[:4].tolist() == [least, most, least, most]


def test_a_number_above_half_precision_becomes_its_largest() -> None:
    vector = np.array([[1e6, -1e6, 1]], np.float32)

    assert quantize(vector, OutputDtype.FLOAT16).tolist() == [[65504, -65504, 1]]


@pytest.mark.parametrize("dtype", ONE_BYTE)
@pytest.mark.parametrize("width", [2, 64, 384, 1024])
def test_bytes_come_back_within_half_a_step(dtype: OutputDtype, width: int) -> None:
    vectors = random_rows(200, width)
    end = np.float32(reach(width))
    inside = np.clip(vectors, -end, end)

    back = dequantize(quantize(vectors, dtype), dtype, width)

    assert back.dtype == np.float32
    assert np.abs(back - inside).max() <= end / 255 * 1.001


@pytest.mark.parametrize("dtype", ONE_BYTE)
def test_bytes_come_back_by_the_documented_formula(dtype: OutputDtype) -> None:
    codes = quantize(random_rows(20, 384), dtype)
    levels = codes.astype(np.float64) + (128 if dtype is OutputDtype.INT8 else 0)
    step = 2 * reach(384) / 255

    np.testing.assert_allclose(
        dequantize(codes, dtype, 384), (levels + 0.5) * step - reach(384), atol=1e-6
    )


@pytest.mark.parametrize("width", [384, 768, 1024])
def test_a_byte_a_component_keeps_the_direction(width: int) -> None:
    vectors = random_rows(500, width)
    back = normalize_rows(dequantize(quantize(vectors, OutputDtype.INT8), OutputDtype.INT8, width))
    cosines = (vectors * back).sum(1)

    assert np.median(cosines) >= 0.9999
    assert cosines.min() >= 0.9998


@pytest.mark.parametrize("dtype", ONE_BIT)
@pytest.mark.parametrize("width", [1, 8, 13, 384])
def test_bits_come_back_as_signs_at_unit_length(dtype: OutputDtype, width: int) -> None:
    vectors = random_rows(20, width)

    back = dequantize(quantize(vectors, dtype), dtype, width)

    assert back.shape == vectors.shape
    assert np.array_equal(np.sign(back), np.where(vectors > 0, 1, -1))
    np.testing.assert_allclose(np.linalg.norm(back, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("dtype", [OutputDtype.FLOAT32, OutputDtype.FLOAT16])
def test_floats_come_back_as_they_are(dtype: OutputDtype) -> None:
    vectors = random_rows(20, 32).astype(KINDS[dtype]).astype(np.float32)

    back = dequantize(quantize(vectors, dtype), dtype, 32)

    assert back.dtype == np.float32
    assert np.array_equal(back, vectors)


@pytest.mark.parametrize("dtype", OutputDtype)
def test_exactly_bytes_of_vectors_of_any_length_are_refused(dtype: OutputDtype) -> None:
    check_quantizable(dtype, True)
    if dtype not in ONE_BYTE:
        check_quantizable(dtype, False)
        return

    with pytest.raises(InvalidInput, match="normalize is false") as caught:
        check_quantizable(dtype, False)

    assert caught.value.field == "output_dtype"
    assert dtype.value in caught.value.problem
