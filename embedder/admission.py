"""What a request may hold: every refusal names the field, the size and the limit.

Looks at inputs before anything is computed, and at token counts before the encoder sees them.
Pure checks; knows nothing of HTTP or of stages.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embedder.config import LimitSettings
from embedder.errors import InvalidInput, LimitExceeded
from embedder.types import Input, TokenBatch, Truncate


def check_inputs(
    inputs: Sequence[Input], *, limits: LimitSettings | None, vocabulary_size: int
) -> None:
    """Refuse inputs that can never be embedded; without limits, only what has no meaning.

    Raises:
        LimitExceeded: too many inputs, or too many characters or ids in one.
        InvalidInput: one is empty, or holds ids that are not of the model's vocabulary.
    """
    if limits is not None and len(inputs) > limits.max_inputs:
        raise LimitExceeded("input", "items", len(inputs), limits.max_inputs)
    for row, item in enumerate(inputs):
        if len(item) == 0:
            raise InvalidInput(f"input[{row}]", "must not be empty")
        if limits is not None and len(item) > limits.max_characters:
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


def _check_ids(name: str, ids: Sequence[int], vocabulary_size: int) -> None:
    for at, token in enumerate(ids):
        # A vector in the place of ids would be read as some.
        if not isinstance(token, (int, np.integer)) or not 0 <= token < vocabulary_size:
            raise InvalidInput(
                f"{name}[{at}]",
                f"is {token}; ids of this model's vocabulary are 0 to {vocabulary_size - 1}",
            )
