"""Quantization of vectors: half precision, one byte per component, or one bit.

The codes are those of sentence-transformers' ``quantize_embeddings``, except that its ranges depend
on the vectors of a call, so that codes of two calls cannot be compared. Here one range holds for
all vectors of width d:

    r = min(1, 6 / sqrt(d))      step = 2 * r / 255
    uint8 = floor((x + r) / step), clipped to 0..255        int8 = uint8 - 128
    x     = (uint8 + 0.5) * step - r                        with an error up to step / 2

The root mean square of a component of a unit vector is 1 / sqrt(d). Few components exceed six times
that, 7 of a million in all-MiniLM-L6-v2; they are clipped. The cosine between a vector and its
codes is 0.9999, or about 0.995 if a component was clipped.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.core.errors import InvalidInput
from embedder.core.types import Vectors

RANGE_RMS = 6.0
"""End of the range of one-byte codes, in root mean squares of a component."""

_CODES = 256
_FLOAT16_MAX = float(np.finfo(np.float16).max)


class OutputDtype(str, Enum):
    """The type of a component; the binary types pack eight components into a byte.

    A bit is 1 if the component is above zero. The first component is the highest bit, and zeros
    fill the last byte. ``BINARY`` is ``UBINARY`` - 128 as int8.
    """

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"
    UINT8 = "uint8"
    BINARY = "binary"
    UBINARY = "ubinary"


_ONE_BYTE = (OutputDtype.INT8, OutputDtype.UINT8)
_ONE_BIT = (OutputDtype.BINARY, OutputDtype.UBINARY)
_SIGNED = (OutputDtype.INT8, OutputDtype.BINARY)


def check_quantizable(dtype: OutputDtype, normalize: bool) -> None:
    """Refuse one-byte codes, whose range is that of unit vectors, for other vectors.

    Raises:
        InvalidInput: ``dtype`` has one byte per component, and ``normalize`` is false.
    """
    if dtype in _ONE_BYTE and not normalize:
        raise InvalidInput(
            "output_dtype",
            f"is {dtype.value}, whose range is that of normalised vectors; normalize is false",
        )


def quantize(vectors: Vectors, dtype: OutputDtype) -> NDArray[Any]:
    """Return the codes of unit rows float32[n, d]; for bits, rows may have any length.

    Codes are float32, float16, int8 or uint8[n, d], and for the binary types int8 or
    uint8[n, ceil(d / 8)]. Numbers outside of the range of the type are clipped.
    """
    if dtype is OutputDtype.FLOAT32:
        return vectors
    if dtype is OutputDtype.FLOAT16:
        return np.clip(vectors, -_FLOAT16_MAX, _FLOAT16_MAX).astype(np.float16)
    codes = np.packbits(vectors > 0, axis=-1) if dtype in _ONE_BIT else _levels(vectors)
    return (codes ^ 128).view(np.int8) if dtype in _SIGNED else codes


def _levels(vectors: Vectors) -> NDArray[np.uint8]:
    start, step = _grid(vectors.shape[-1])
    with np.errstate(over="ignore"):  # infinity is clipped like other numbers
        levels: NDArray[np.float32] = np.floor((vectors - start) / step)
    return np.clip(levels, 0, _CODES - 1).astype(np.uint8)


def _grid(width: int) -> tuple[np.float32, np.float32]:
    """Return the start of the range of codes for a width, and the step between codes."""
    end = np.float32(min(1.0, RANGE_RMS / math.sqrt(width)))
    return -end, 2 * end / np.float32(_CODES - 1)
