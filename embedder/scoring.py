"""Score and rank texts by a cross-encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedder.core.errors import InvalidInput
from embedder.core.pairs import Pair
from embedder.core.types import Input, ModelInfo, Vectors
from embedder.loop_thread import LoopThread
from embedder.pipeline.input_checks import check_collection
from embedder.pipeline.pipeline import Pipeline

Texts = str | Pair | Sequence[Input]
"""One text or pair, or a sequence of texts, lists of token ids and, for a cross-encoder, pairs."""


@dataclass(frozen=True, slots=True)
class RankedText:
    """The position of a text in its request, and its score."""

    index: int
    score: float


class Scoring:
    """The calls of a loaded model that return scores."""

    model: ModelInfo
    _loop: LoopThread
    _pipeline: Pipeline

    def rerank(
        self,
        query: str,
        texts: Sequence[str],
        *,
        top_k: int | None = None,
        raw_scores: bool = False,
    ) -> list[RankedText]:
        """Return the texts that answer a query best, by the scores of a cross-encoder.

        ``top_k`` None returns all of them. Equal scores stay in the order of ``texts``.
        ``raw_scores`` leaves out the activation that the model's files name.

        Raises:
            InvalidInput: ``top_k`` is no whole number of at least 1, or the model has not exactly
                one label.
            EmbedderError: as `classify`.
        """
        _check_ranking(self.model, query, texts, top_k)
        pairs = [Pair(query, text) for text in texts]
        return _ranked(self.classify(pairs, raw_scores=raw_scores), top_k)

    def classify(self, inputs: Texts, *, raw_scores: bool = False) -> Vectors:
        """Return float32[n, labels], the scores of texts or of pairs; ``model.labels`` names them.

        ``raw_scores`` leaves out the activation that the model's files name.

        Raises:
            EmbedderError: as `Pipeline.score`, or `Unavailable` if the generator is closed.
        """
        return self._loop.run(self._pipeline.score(rows_of(inputs), raw=raw_scores)).scores


def rows_of(inputs: Texts) -> Sequence[Input]:
    """Return the inputs as a sequence; one text is one input.

    Raises:
        InvalidInput: ``inputs`` is no collection with an order and a length.
    """
    if isinstance(inputs, (str, Pair)):
        return [inputs]
    check_collection(inputs)
    # Columns of tables and arrays have a length and an order, but their own kind of indexing.
    return inputs if isinstance(inputs, list | tuple) else list(inputs)


def _check_ranking(model: ModelInfo, query: object, texts: Sequence[object], top_k: object) -> None:
    """Check a request to rank texts.

    Raises:
        InvalidInput: the query is no text or is empty, ``texts`` is no list, ``top_k`` is no whole
            number of at least 1, or the model gives several scores.
    """
    if len(model.labels) > 1:
        raise InvalidInput(
            "model",
            f"names {model.name!r}, which has {len(model.labels)} labels; a model that ranks has "
            "one ('classify' returns the scores of all labels)",
        )
    if not isinstance(query, str):
        raise InvalidInput("query", f"is of type {type(query).__name__}; it must be a text")
    if not query:
        raise InvalidInput("query", "must not be empty")
    if isinstance(texts, str):
        raise InvalidInput("texts", "is of type str; give a list of texts")
    check_collection(texts)
    if top_k is not None and (type(top_k) is not int or top_k < 1):
        raise InvalidInput("top_k", f"is {top_k!r}; it must be a whole number of at least 1")


def _ranked(scores: Vectors, top_k: int | None) -> list[RankedText]:
    """Return the first ``top_k`` rows of float32[n, 1], the largest score first.

    Equal scores stay in their order.
    """
    order = np.argsort(-scores[:, 0], kind="stable")[:top_k]
    return [RankedText(int(row), float(scores[row, 0])) for row in order]
