"""Sparse weights, token vectors, and several kinds of results in one pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.core.deadline import Deadline
from embedder.core.errors import InvalidInput
from embedder.core.outputs import OutputKind, RaggedRows
from embedder.core.request import EmbedOptions, Outputs
from embedder.core.types import Vectors
from embedder.inference.local import LocalTokenizer
from embedder.loop_thread import LoopThread
from embedder.pipeline.pipeline import Pipeline
from embedder.scoring import Texts, rows_of


@dataclass(frozen=True, slots=True, eq=False)
class SparseVector:
    """The weights float32[k] of a text, and the vocabulary id of each, int32[k], ascending."""

    ids: NDArray[np.int32]
    weights: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class OutputRows:
    """The kinds of results that were asked for, one item per input, in order; None for others.

    ``dense`` is float32[n, width], ``scores`` float32[n, labels]; ``tokens`` has float32[k, width]
    for an input of k tokens.
    """

    dense: Vectors | None
    scores: Vectors | None
    sparse: list[SparseVector] | None
    tokens: list[Vectors] | None


class OutputCalls:
    """The calls of a loaded model that return sparse weights and token vectors."""

    _loop: LoopThread
    _pipeline: Pipeline
    _tokenizer: LocalTokenizer

    def embed_sparse(
        self, inputs: Texts, options: EmbedOptions | None = None
    ) -> list[SparseVector]:
        """Return the sparse weights of every input, in order.

        Raises:
            EmbedderError: as `embed_outputs`.
        """
        return _sparse(self._compute(inputs, {OutputKind.SPARSE}, options))

    def embed_tokens(self, inputs: Texts, options: EmbedOptions | None = None) -> list[Vectors]:
        """Return float32[k, width] for every input of k tokens, in order.

        Raises:
            EmbedderError: as `embed_outputs`.
        """
        return _tokens(self._compute(inputs, {OutputKind.TOKENS}, options))

    def embed_outputs(
        self,
        inputs: Texts,
        output_types: Iterable[OutputKind | str],
        options: EmbedOptions | None = None,
    ) -> OutputRows:
        """Return several kinds of results of every input, which one pass computes.

        ``output_types`` are some of ``model.outputs``, also by their values. Width and length of
        dense vectors are as the options say; the other kinds are as the model computes them.

        Raises:
            InvalidInput: an output type is unknown, or the model does not compute it.
            EmbedderError: as `Pipeline.outputs`, or `Unavailable` if the generator is closed.
        """
        kinds = {_kind(name) for name in output_types}
        found = self._compute(inputs, kinds, options)
        dense, scores = (found.rows.get(kind) for kind in (OutputKind.DENSE, OutputKind.SCORES))
        return OutputRows(
            None if isinstance(dense, RaggedRows) else dense,
            None if isinstance(scores, RaggedRows) else scores,
            _sparse(found) if OutputKind.SPARSE in kinds else None,
            _tokens(found) if OutputKind.TOKENS in kinds else None,
        )

    def token_weights(self, vector: SparseVector) -> dict[str, float]:
        """Return each token of a sparse vector, as the vocabulary writes it, with its weight."""
        texts = self._tokenizer.token_texts(vector.ids.tolist())
        return dict(zip(texts, vector.weights.tolist(), strict=True))

    def _compute(
        self, inputs: Texts, kinds: set[OutputKind], options: EmbedOptions | None
    ) -> Outputs:
        options = options or EmbedOptions()
        deadline = Deadline.after(options.timeout_s)
        return self._loop.run(self._pipeline.outputs(rows_of(inputs), kinds, options, deadline))


def _kind(name: OutputKind | str) -> OutputKind:
    kinds = [kind for kind in OutputKind if kind is not OutputKind.CHUNKS]
    if name not in kinds:
        known = ", ".join(kind.value for kind in kinds)
        raise InvalidInput("output_types", f"has {name!r}; output types are {known}")
    return OutputKind(name)


def _sparse(found: Outputs) -> list[SparseVector]:
    rows = found.rows[OutputKind.SPARSE]
    assert isinstance(rows, RaggedRows)
    return [
        SparseVector(np.zeros(0, np.int32) if row.ids is None else row.ids, row.values[:, 0])
        for row in rows.split()
    ]


def _tokens(found: Outputs) -> list[Vectors]:
    rows = found.rows[OutputKind.TOKENS]
    assert isinstance(rows, RaggedRows)
    return [row.values for row in rows.split()]
