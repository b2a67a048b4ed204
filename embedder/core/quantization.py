"""Vectors as fewer bytes: half precision, one byte a component, or one bit.

Arrays in, arrays out. Knows nothing of models, encodings or JSON. The codes are those of
sentence-transformers' ``quantize_embeddings``. Its ranges depend on the vectors that it is given,
so that codes of two calls do not compare; here one range holds for all components, calls and
models of a width d:

    r = min(1, 6 / sqrt(d))      step = 2 * r / 255
    uint8 = floor((x + r) / step), at least 0 and at most 255        int8 = uint8 - 128
    x     = (uint8 + 0.5) * step - r                                     up to half a step

A component of a unit vector is 1 / sqrt(d) in the root mean square, and few are larger than six
times that: 7 of a million in all-MiniLM-L6-v2. Those take the code of the end that is nearest. The
cosine between a vector and its codes is 0.9999; with a component that was cut it may be 0.995.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.core.errors import InvalidInput
from embedder.core.types import Vectors

REACH = 6.0
"""Where one-byte codes end, in root mean squares of a component."""

_CODES = 256
_FLOAT16_MAX = float(np.finfo(np.float16).max)


class OutputDtype(str, Enum):
    """What one component of an answer is; the binary ones pack eight of them into a byte.

    ``BINARY`` is ``UBINARY`` less 128, as int8. A bit is 1 where the component is above zero; the
    first component is the highest bit, and zeros fill the last byte.
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
    """Refuse one byte a component for vectors that may be of any length.

    Raises:
        InvalidInput: the range of the codes holds for unit vectors, and these will be none.
    """
    if dtype in _ONE_BYTE and not normalize:
        raise InvalidInput(
            "output_dtype",
            f"is {dtype.value}, whose range is that of normalised vectors; normalize is false",
        )


def quantize(vectors: Vectors, dtype: OutputDtype) -> NDArray[Any]:
    """Return the codes of unit rows, float32[n, d].

    They are float32, float16, int8 or uint8[n, d], or for the binary ones int8 or
    uint8[n, ceil(d / 8)]. Only signs count for a bit, so those rows may be of any length. Numbers
    outside of what a format holds become its nearest.
    """
    if dtype is OutputDtype.FLOAT32:
        return vectors
    if dtype is OutputDtype.FLOAT16:
        return np.clip(vectors, -_FLOAT16_MAX, _FLOAT16_MAX).astype(np.float16)
    codes = np.packbits(vectors > 0, axis=-1) if dtype in _ONE_BIT else _levels(vectors)
    return (codes ^ 128).view(np.int8) if dtype in _SIGNED else codes


def dequantize(codes: NDArray[Any], dtype: OutputDtype, width: int) -> Vectors:
    """Return float32[n, width] that the codes stand for.

    The middle of its step for one byte a component; for a bit, plus or minus 1 / sqrt(width), so
    that rows have length 1.
    """
    if dtype in _SIGNED:
        codes = codes.view(np.uint8) ^ 128
    if dtype in _ONE_BIT:
        bits = np.unpackbits(codes, axis=-1, count=width).astype(np.float32)
        return (2 * bits - 1) / np.float32(math.sqrt(width))
    if dtype in _ONE_BYTE:
        start, step = _grid(width)
        return (codes + np.float32(0.5)) * step + start
    return codes.astype(np.float32)


def _levels(vectors: Vectors) -> NDArray[np.uint8]:
    start, step = _grid(vectors.shape[-1])
    with np.errstate(over="ignore"):  # beyond float32 is beyond the range too
        levels: NDArray[np.float32] = np.floor((vectors - start) / step)
    return np.clip(levels, 0, _CODES - 1).astype(np.uint8)


def _grid(width: int) -> tuple[np.float32, np.float32]:
    """Return where the codes of a width begin, and how far apart they are."""
    reach = np.float32(min(1.0, REACH / math.sqrt(width)))
    return -reach, 2 * reach / np.float32(_CODES - 1)
