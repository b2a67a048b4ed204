"""Checks of inputs before any computation, and of token counts before encoding.

Every error names the field, the size and the limit.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence, Set, Sized
from typing import cast

import numpy as np
from numpy.typing import NDArray

from embedder.core.errors import InvalidInput, LimitExceeded
from embedder.core.pairs import Pair
from embedder.core.types import Input, TokenBatch, Truncate
from embedder.settings.model import LimitSettings

_BYTES = (bytes, bytearray, memoryview)
"""Sequences of integers that are not token ids."""


def check_collection(inputs: object, *, sized: bool = True) -> None:
    """Check that ``inputs`` is an ordered collection; its items are not checked.

    Raises:
        InvalidInput: it is not, or it must be ``sized`` and has no length.
    """
    scalar = isinstance(inputs, np.ndarray) and inputs.ndim == 0
    ordered = isinstance(inputs, Iterable) and not isinstance(inputs, (*_BYTES, Mapping, Set))
    if scalar or not ordered:
        raise InvalidInput(
            "input", f"is of type {_kind(inputs)}; give a text, or a list of texts and token ids"
        )
    if sized and not isinstance(inputs, Sized):
        raise InvalidInput(
            "input", f"is of type {_kind(inputs)}, which has no length; give a list, or stream it"
        )


def check_types(inputs: Sequence[Input]) -> None:
    """Check that every item is a text or a list of token ids.

    Raises:
        InvalidInput: an item has another type; the error names its row and its type.
    """
    for row, item in enumerate(inputs):
        _check_type(row, item)


def check_inputs(
    inputs: Sequence[Input],
    *,
    limits: LimitSettings | None,
    vocabulary_size: int,
    any_length: bool = False,
    pairs: bool = False,
) -> None:
    """Check inputs against ``limits``, their types, and the ids of the vocabulary.

    ``any_length`` accepts inputs of more than ``max_characters``, to be truncated later; ``pairs``
    accepts pairs, of which each half is checked like a text.

    Raises:
        LimitExceeded: too many inputs, or too many characters or ids in one of them.
        InvalidInput: an input has another type, is empty, or has ids outside the vocabulary.
    """
    if not isinstance(inputs, list):
        check_collection(inputs)
    if limits is not None and len(inputs) > limits.max_inputs:
        raise LimitExceeded("input", "items", len(inputs), limits.max_inputs)
    longest = sys.maxsize if limits is None or any_length else limits.max_characters
    for row, item in enumerate(inputs):
        if isinstance(item, str):
            if not 0 < len(item) <= longest:
                raise _wrong_length(f"input[{row}]", item, longest)
        elif pairs and isinstance(item, Pair):
            _check_pair(f"input[{row}]", item, longest)
        else:
            _check_ids(row, item, longest, vocabulary_size)


def check_tokens(
    tokens: TokenBatch,
    inputs: Sequence[int],
    *,
    truncate: Truncate,
    max_tokens: int,
    limits: LimitSettings | None,
) -> None:
    """Check token counts against the limits of the model and of one request.

    ``inputs`` are the row numbers in the request of the rows of ``tokens``.

    Raises:
        LimitExceeded: an input is too long and must not be truncated, or the request is too long.
        InvalidInput: an input has no tokens that the model reads.
    """
    lengths = tokens.lengths
    if lengths.min(initial=1) == 0:
        row = int(np.argmin(lengths))
        raise InvalidInput(f"input[{inputs[row]}]", "has no tokens that the model reads")
    if truncate is Truncate.NONE and lengths.max(initial=0) > max_tokens:
        row = int(np.argmax(lengths > max_tokens))
        raise LimitExceeded(f"input[{inputs[row]}]", "tokens", int(lengths[row]), max_tokens)
    total = int(lengths.sum())
    if limits is not None and total > limits.max_request_tokens:
        raise LimitExceeded("input", "tokens to compute", total, limits.max_request_tokens)


def _check_type(row: int, item: object) -> None:
    if isinstance(item, (str, list, tuple)):
        return
    vector = isinstance(item, np.ndarray) and item.ndim == 1
    if vector or (isinstance(item, Sequence) and not isinstance(item, _BYTES)):
        return
    problem = f"is of type {_kind(item)}; an input is a text or a list of token ids"
    raise InvalidInput(f"input[{row}]", problem)


def _check_pair(name: str, pair: Pair, longest: int) -> None:
    for half, text in (("query", pair.query), ("text", pair.text)):
        if not isinstance(text, str):
            raise InvalidInput(f"{name}.{half}", f"is of type {_kind(text)}; it must be a text")
        if not 0 < len(text) <= longest:
            raise _wrong_length(f"{name}.{half}", text, longest)


def _wrong_length(name: str, item: str | Sequence[int], longest: int) -> InvalidInput:
    if not len(item):
        return InvalidInput(name, "must not be empty")
    unit = "characters" if isinstance(item, str) else "token ids"
    return LimitExceeded(name, unit, len(item), longest)


def _check_ids(row: int, ids: object, longest: int, vocabulary_size: int) -> None:
    _check_type(row, ids)
    name, ids = f"input[{row}]", cast("Sequence[int]", ids)
    if not 0 < len(ids) <= longest:
        raise _wrong_length(name, ids, longest)
    if _are_ids(ids, vocabulary_size):
        return
    allowed = f"ids of this model's vocabulary are 0 to {vocabulary_size - 1}"
    for at, token in enumerate(ids):
        # Floats of a vector, and booleans, must not pass as ids.
        if isinstance(token, bool) or not isinstance(token, (int, np.integer)):
            raise InvalidInput(f"{name}[{at}]", f"is of type {_kind(token)}; {allowed}")
        if not 0 <= token < vocabulary_size:
            raise InvalidInput(f"{name}[{at}]", f"is {token}; {allowed}")


def _are_ids(ids: object, vocabulary_size: int) -> bool:
    """Tell whether all ids are in the vocabulary, without a Python step per id."""
    if isinstance(ids, np.ndarray):
        within: NDArray[np.bool_] = (ids >= 0) & (ids < vocabulary_size)
        return bool(ids.dtype.kind in "iu" and within.all())
    if not isinstance(ids, list) or set(map(type, ids)) != {int}:
        return False
    return bool(min(ids) >= 0 and max(ids) < vocabulary_size)


def _kind(value: object) -> str:
    return type(value).__name__
