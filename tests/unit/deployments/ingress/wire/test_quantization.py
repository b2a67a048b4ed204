"""Codes equal those of sentence-transformers, and decode to the vectors as documented."""

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

from deployments.ingress.wire.quantization import OutputDtype, check_quantizable, quantize
from embedder.core.errors import InvalidInput
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
    """Draw unit rows with uniform directions."""
    drawn = np.random.default_rng(seed).standard_normal((count, width))
    return normalize_rows(drawn.astype(np.float32))


def range_end(width: int) -> float:
    """Return the documented end of the range."""
    return min(1.0, 6 / math.sqrt(width))


def peer(vectors: Vectors, dtype: OutputDtype) -> NDArray[Any]:
    """Return the codes of sentence-transformers for the documented range."""
    end = np.full(vectors.shape[1], range_end(vectors.shape[1]), np.float32)
    precision: Any = dtype.value
    codes = quantize_embeddings(vectors, precision=precision, ranges=np.stack([-end, end]))
    assert isinstance(codes, np.ndarray)
    return codes


@pytest.mark.parametrize("dtype", [*ONE_BYTE, *ONE_BIT])
@given(TABLES)
def test_codes_equal_those_of_sentence_transformers(dtype: OutputDtype, vectors: Vectors) -> None:
    codes = quantize(vectors, dtype)
    expected = peer(vectors, dtype)

    assert codes.dtype == expected.dtype
    assert codes.tolist() == expected.tolist()


@pytest.mark.parametrize("dtype", [*ONE_BYTE, *ONE_BIT])
@pytest.mark.parametrize("width", [384, 768, 1023])
def test_codes_of_realistic_widths_equal_those_of_sentence_transformers(
    dtype: OutputDtype, width: int
) -> None:
    vectors = random_rows(50, width)

    assert np.array_equal(quantize(vectors, dtype), peer(vectors, dtype))


@pytest.mark.parametrize("dtype", OutputDtype)
@pytest.mark.parametrize("count", [0, 3])
def test_every_dtype_has_its_type_and_shape(dtype: OutputDtype, count: int) -> None:
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
def test_bits_are_signs_and_zero_is_not_positive(dtype: OutputDtype, codes: list[int]) -> None:
    vector = np.array([[0.5, -0.5, 1e-9, 0.1, 0, -0.0, -1, -1, 0.2]], np.float32)

    assert quantize(vector, dtype).tolist() == [codes]


@pytest.mark.parametrize(
    ("dtype", "least", "most"), [(OutputDtype.UINT8, 0, 255), (OutputDtype.INT8, -128, 127)]
)
@pytest.mark.parametrize("width", [4, 384, 4096])
def test_numbers_outside_of_the_range_are_clipped(
    dtype: OutputDtype, least: int, most: int, width: int
) -> None:
    end = range_end(width)
    vector = np.zeros((1, width), np.float32)
    vector[0, :4] = [-end * 1.01, end * 1.01, -3e38, 3e38]

    codes = quantize(vector, dtype)[0]

    assert codes[:4].tolist() == [least, most, least, most]


def test_numbers_beyond_float16_are_clipped() -> None:
    vector = np.array([[1e6, -1e6, 1]], np.float32)

    assert quantize(vector, OutputDtype.FLOAT16).tolist() == [[65504, -65504, 1]]


def decode(codes: NDArray[Any], dtype: OutputDtype) -> NDArray[np.float64]:
    """Return the components of one-byte codes by the documented formula."""
    levels = codes.astype(np.float64) + (128 if dtype is OutputDtype.INT8 else 0)
    end = range_end(codes.shape[1])
    return (levels + 0.5) * (2 * end / 255) - end


@pytest.mark.parametrize("dtype", ONE_BYTE)
@pytest.mark.parametrize("width", [2, 64, 384, 1024])
def test_one_byte_codes_decode_within_half_a_step(dtype: OutputDtype, width: int) -> None:
    vectors = random_rows(200, width)
    end = range_end(width)

    decoded = decode(quantize(vectors, dtype), dtype)

    assert np.abs(decoded - np.clip(vectors, -end, end)).max() <= end / 255 * 1.001


@pytest.mark.parametrize("width", [384, 768, 1024])
def test_one_byte_codes_keep_the_direction(width: int) -> None:
    vectors = random_rows(500, width)
    decoded = decode(quantize(vectors, OutputDtype.INT8), OutputDtype.INT8)
    cosines = (vectors * normalize_rows(decoded.astype(np.float32))).sum(1)

    assert np.median(cosines) >= 0.9999
    assert cosines.min() >= 0.9998


@pytest.mark.parametrize("dtype", ONE_BIT)
@pytest.mark.parametrize("width", [1, 8, 13, 384])
def test_bits_are_the_signs_of_the_components_in_order(dtype: OutputDtype, width: int) -> None:
    vectors = random_rows(20, width)
    codes = quantize(vectors, dtype)

    flipped = np.uint8(128 if dtype is OutputDtype.BINARY else 0)
    unsigned: NDArray[np.uint8] = codes.view(np.uint8) ^ flipped
    assert np.array_equal(np.unpackbits(unsigned, axis=1, count=width), vectors > 0)


@pytest.mark.parametrize("dtype", [OutputDtype.FLOAT32, OutputDtype.FLOAT16])
def test_floats_within_the_range_are_only_converted(dtype: OutputDtype) -> None:
    vectors = random_rows(20, 32)

    assert np.array_equal(quantize(vectors, dtype), vectors.astype(KINDS[dtype]))


@pytest.mark.parametrize("dtype", OutputDtype)
def test_exactly_one_byte_codes_without_normalization_are_refused(dtype: OutputDtype) -> None:
    check_quantizable(dtype, True)
    if dtype not in ONE_BYTE:
        check_quantizable(dtype, False)
        return

    with pytest.raises(InvalidInput, match="normalize is false") as caught:
        check_quantizable(dtype, False)

    assert caught.value.field == "output_dtype"
    assert dtype.value in caught.value.problem
