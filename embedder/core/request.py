"""Requests to the pipeline and their results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from embedder.core.outputs import OutputKind
from embedder.core.types import InputType, Priority, Rows, Timings, Truncate, Vectors


class PromptedText(str):
    """A text after a prompt of ``prompt_length`` characters that truncation at the start keeps."""

    prompt_length: int

    @classmethod
    def of(cls, prompt: str, text: str) -> PromptedText:
        """Join a prompt and a text."""
        joined = cls(prompt + text)
        joined.prompt_length = len(prompt)
        return joined


@dataclass(frozen=True, slots=True)
class EmbedOptions:
    """Options of a request.

    At most one of ``prompt`` (a text), ``prompt_name`` (in the model's table) and ``input_type``
    selects the prompt in front of every text; token ids get none. ``any_length`` accepts inputs
    above the limit of characters, because the caller asked for truncation. ``truncate`` None cuts
    the end that the model's files name. ``timeout_s`` counts from the call of a generator or of a
    handle; within the service, each request has a `Deadline`.
    """

    prompt: str | None = None
    prompt_name: str | None = None
    input_type: InputType | None = None
    truncate: Truncate | None = None
    any_length: bool = False
    dimensions: int | None = None
    normalize: bool = True
    priority: Priority = Priority.INTERACTIVE
    timeout_s: float | None = None

    def for_input_type(self, kind: InputType) -> EmbedOptions:
        """Return the options with the prompt of an input type, unless they select another."""
        if self.prompt is not None or self.prompt_name is not None:
            return self
        return replace(self, input_type=kind)


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The result of a request: one row per input, in order.

    ``token_counts`` includes special tokens. ``cached`` is the number of distinct inputs that were
    in the cache. ``model`` is the name of the model that computed the vectors. ``timings`` are the
    longest of all computations that the request waited for.
    """

    vectors: Vectors
    token_counts: NDArray[np.int32]
    truncated: NDArray[np.bool_]
    cached: int
    model: str
    timings: Timings = field(default_factory=Timings)


@dataclass(frozen=True, slots=True)
class Scores:
    """float32[n, labels], one row per input, in order; the rest is as in `Embeddings`.

    ``labels`` are the names of the columns.
    """

    scores: Vectors
    token_counts: NDArray[np.int32]
    truncated: NDArray[np.bool_]
    cached: int
    model: str
    timings: Timings = field(default_factory=Timings)
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outputs:
    """The rows of each kind that was asked for, one per input, in order.

    Dense vectors are as the options say, scores after the activation. ``cached`` counts the
    distinct inputs of which the cache had every kind; the rest is as in `Embeddings`.
    """

    rows: Mapping[OutputKind, Rows]
    token_counts: NDArray[np.int32]
    truncated: NDArray[np.bool_]
    cached: int
    model: str
    timings: Timings = field(default_factory=Timings)


def concatenate(parts: Sequence[Embeddings]) -> Embeddings:
    """Return one or more results as one, with the longest of each timing."""
    return Embeddings(
        np.concatenate([part.vectors for part in parts]),
        np.concatenate([part.token_counts for part in parts]),
        np.concatenate([part.truncated for part in parts]),
        sum(part.cached for part in parts),
        parts[-1].model,
        reduce(Timings.longest, (part.timings for part in parts)),
    )
