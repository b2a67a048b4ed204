"""What a request may hold: every refusal names the field, the size and the limit.

Looks at inputs before anything is computed, and at token counts before the encoder sees them.
Pure checks; knows nothing of HTTP or of stages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set, Sized

import numpy as np
from numpy.typing import NDArray

from embedder.core.errors import InvalidInput, LimitExceeded
from embedder.core.types import Input, TokenBatch, Truncate
from embedder.settings.model import LimitSettings

_BYTES = (bytes, bytearray, memoryview)
"""Sequences of whole numbers that are not meant as token ids."""


def check_collection(inputs: object, *, sized: bool = True) -> None:
    """Refuse what is not an ordered collection of inputs; its items are not looked at.

    Raises:
        InvalidInput: it is something else, or has no length although it must be ``sized``.
    """
    lacks_items = isinstance(inputs, np.ndarray) and inputs.ndim == 0
    ordered = isinstance(inputs, Iterable) and not isinstance(inputs, (*_BYTES, Mapping, Set))
    if lacks_items or not ordered:
        raise InvalidInput(
            "input", f"is of type {_kind(inputs)}; give a text, or a list of texts and token ids"
        )
    if sized and not isinstance(inputs, Sized):
        raise InvalidInput(
            "input", f"is of type {_kind(inputs)}, which has no length; give a list, or stream it"
        )


def check_types(inputs: Sequence[Input]) -> None:
    """Refuse items that are neither a text nor a list of token ids.

    Raises:
        InvalidInput: one is of another type; the error names its place and its type.
    """
    for row, item in enumerate(inputs):
        _check_type(row, item)


def check_inputs(
    inputs: Sequence[Input],
    *,
    limits: LimitSettings | None,
    vocabulary_size: int,
    any_length: bool = False,
) -> None:
    """Refuse inputs that can never be embedded; without limits, only what has no meaning.

    ``any_length`` accepts inputs of more than ``max_characters``: the caller wants them cut.

    Raises:
        LimitExceeded: too many inputs, or too many characters or ids in one.
        InvalidInput: one is of another type, or is empty, or holds ids that are not of the model's
            vocabulary.
    """
    check_collection(inputs)
    if limits is not None and len(inputs) > limits.max_inputs:
        raise LimitExceeded("input", "items", len(inputs), limits.max_inputs)
    for row, item in enumerate(inputs):
        _check_type(row, item)
        if len(item) == 0:
            raise InvalidInput(f"input[{row}]", "must not be empty")
        if limits is not None and not any_length and len(item) > limits.max_characters:
            unit = "characters" if isinstance(item, str) else "token ids"
            raise LimitExceeded(f"input[{row}]", unit, len(item), limits.max_characters)
        if not isinstance(item, str):
            _check_ids(f"input[{row}]", item, vocabulary_size)


def check_tokens(
    tokens: TokenBatch,
    inputs: Sequence[int],
    *,
    truncate: Truncate,
    max_tokens: int,
    limits: LimitSettings | None,
) -> None:
    """Refuse token counts that the model or one request may not have.

    ``inputs`` are the numbers that the caller knows the rows of ``tokens`` by.

    Raises:
        LimitExceeded: an input that may not be cut is too long, or all together are.
        InvalidInput: an input has no tokens: its text holds nothing that the model reads.
    """
    if len(tokens) and tokens.lengths.min() == 0:
        row = int(np.argmin(tokens.lengths))
        raise InvalidInput(f"input[{inputs[row]}]", "has no tokens that the model reads")
    if truncate is Truncate.NONE and len(tokens) and tokens.lengths.max() > max_tokens:
        row = int(np.argmax(tokens.lengths > max_tokens))
        raise LimitExceeded(f"input[{inputs[row]}]", "tokens", int(tokens.lengths[row]), max_tokens)
    total = int(tokens.lengths.sum())
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


def _check_ids(name: str, ids: Sequence[int], vocabulary_size: int) -> None:
    if _are_ids(ids, vocabulary_size):
        return
    allowed = f"ids of this model's vocabulary are 0 to {vocabulary_size - 1}"
    for at, token in enumerate(ids):
        # A vector in the place of ids would be read as some, and so would booleans.
        if isinstance(token, bool) or not isinstance(token, (int, np.integer)):
            raise InvalidInput(f"{name}[{at}]", f"is of type {_kind(token)}; {allowed}")
        if not 0 <= token < vocabulary_size:
            raise InvalidInput(f"{name}[{at}]", f"is {token}; {allowed}")


def _are_ids(ids: object, vocabulary_size: int) -> bool:
    """Tell whether all are ids of the vocabulary, without a step of Python for each."""
    if isinstance(ids, np.ndarray):
        within: NDArray[np.bool_] = (ids >= 0) & (ids < vocabulary_size)
        return bool(ids.dtype.kind in "iu" and within.all())
    if not isinstance(ids, list) or set(map(type, ids)) != {int}:
        return False
    return bool(min(ids) >= 0 and max(ids) < vocabulary_size)


def _kind(value: object) -> str:
    return type(value).__name__
