"""Compare a loaded model with float32 on the reference batch, and select its kernels by that."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np

from embedder.backends.precision import LENGTHS, LONG_LENGTHS, Agreement, reference_batch
from embedder.backends.torch.kernels import select_kernels
from embedder.core.errors import ConfigurationError, UnsupportedModel
from embedder.core.outputs import OutputKind, RaggedRows
from embedder.core.types import Rows, TokenBatch

if TYPE_CHECKING:
    from embedder.models.files import ModelFiles

logger = logging.getLogger(__name__)

Results = Mapping[OutputKind, Rows]


class _Model(Protocol):
    device: str
    outputs: tuple[OutputKind, ...]
    notes: tuple[str, ...]

    @property
    def has_fast_kernels(self) -> bool: ...

    def use_plain_kernels(self) -> None: ...

    def compute(self, tokens: TokenBatch, kinds: Collection[OutputKind]) -> Results: ...


def reference_results(model: _Model, files: ModelFiles) -> Results:
    """Return every kind of result of the reference batch."""
    lengths = LONG_LENGTHS if model.device.startswith("cuda") else LENGTHS
    batch = reference_batch(files.vocabulary_size, files.max_tokens, lengths)
    return model.compute(batch, model.outputs)


def choose_kernels(model: _Model, files: ModelFiles, expected: Results) -> Agreement:
    """Select the kernels of a loaded model; return its agreement with ``expected``."""

    def compare() -> Agreement:
        return Agreement.of(expected, reference_results(model, files))

    if not model.has_fast_kernels:
        return compare()
    selection = select_kernels(compare, model.use_plain_kernels)
    if selection.error is not None:
        # Only in the log: clients can read the notes.
        logger.warning("%s: the fast kernels fail: %s", files.name, selection.error.reason)
    if selection.why_plain is not None:
        model.notes += (f"plain kernels: with the fast ones, {selection.why_plain}",)
    return selection.agreement


def check_finite(results: Results, dtype: str) -> None:
    """Check the results of the reference batch.

    Raises:
        UnsupportedModel: in float32 a number is not finite.
        ConfigurationError: in another number format a number is not finite.
    """
    values = (rows.values if isinstance(rows, RaggedRows) else rows for rows in results.values())
    if all(np.isfinite(each).all() for each in values):
        return
    if dtype == "float32":
        raise UnsupportedModel("the vectors of this model are not finite")
    raise ConfigurationError(
        f"backend.dtype is {dtype!r}, in which the vectors of this model are not finite; set it to "
        "'float32'"
    )
