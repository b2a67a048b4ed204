"""Results of several kinds, made of the entries of a request."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.core.entries.blobs import blobs_of, rows_of
from embedder.core.entries.distinct_inputs import Asked
from embedder.core.entries.entries import Entries
from embedder.core.entries.entry_results import EntryResults
from embedder.core.errors import InvalidInput
from embedder.core.outputs import OutputKind, RaggedRows
from embedder.core.request import Embeddings, EmbedOptions, Outputs
from embedder.core.types import Encoded, ModelInfo, Rows
from embedder.core.vectors import activate, truncate_and_normalize


def check_kinds(kinds: Collection[OutputKind], model: ModelInfo) -> tuple[OutputKind, ...]:
    """Return the distinct kinds in the order of `OutputKind`.

    Raises:
        InvalidInput: there is none, or the model does not compute one.
    """
    if not kinds:
        raise InvalidInput("output_types", "must name at least one kind of output")
    for kind in kinds:
        if kind is OutputKind.CHUNKS:
            check_late(model)
        elif kind not in model.outputs:
            raise wrong_output(model, kind)
    return tuple(kind for kind in OutputKind if kind in kinds)


def wrong_output(model: ModelInfo, kind: OutputKind) -> InvalidInput:
    """Return the error about a kind that a model does not compute."""
    outputs = " and ".join(output.value for output in model.outputs)
    return InvalidInput(
        "model", f"names {model.name!r}, which computes {outputs}, not {kind.value}"
    )


def of_results(asked: Asked, encoded: Encoded, of_inputs: Entries) -> Entries:
    """Return an entry with the bytes of each result; ``of_inputs`` has its counts by input."""
    found: dict[OutputKind, NDArray[Any]] = {
        kind: blobs_of(rows) if rows.ndim == 2 else rows
        for kind, rows in zip(asked.distinct_kinds, (encoded.vectors, *encoded.others), strict=True)
    }
    entries = of_inputs.take(asked.inputs)
    rows = np.empty(len(asked.kinds), np.object_)
    rows[:] = [found[kind][at] for kind, at in zip(asked.kinds, asked.inputs.tolist(), strict=True)]
    return replace(entries, vectors=rows)


def check_late(model: ModelInfo) -> None:
    """Check that the mean of some tokens is a vector of the model.

    Raises:
        InvalidInput: the model computes no dense vectors, or has another pooling.
    """
    if model.outputs[0] is not OutputKind.DENSE:
        problem = f"needs a model of dense vectors; {model.name!r} computes"
        raise InvalidInput("late", f"{problem} {model.outputs[0].value}")
    if model.pooling != "mean":
        problem = f"needs a model with mean pooling; that of {model.name!r} is {model.pooling!r}"
        raise InvalidInput("late", problem)


def chunk_embeddings(found: Outputs) -> Embeddings:
    """Return the vectors of all chunks, end to end; counts and cuts are those of the inputs."""
    rows = found.rows[OutputKind.CHUNKS]
    assert isinstance(rows, RaggedRows)
    return Embeddings(
        rows.values, found.token_counts, found.truncated, found.cached, found.model, found.timings
    )


def outputs_of(
    model: ModelInfo,
    kinds: Sequence[OutputKind],
    results: EntryResults,
    rows: NDArray[np.intp],
    options: EmbedOptions,
) -> Outputs:
    """Return the rows of every input: ``rows`` are the numbers of its results of the first kind.

    The results of the distinct inputs come kind after kind.
    """
    entries, count = results.entries, len(results.cached) // len(kinds)
    found = {
        kind: _rows(model, kind, entries.vectors[number * count + rows], options)
        for number, kind in enumerate(kinds)
    }
    return Outputs(
        found,
        entries.token_counts[rows],
        entries.truncated[rows],
        int(results.cached.reshape(len(kinds), -1).all(0).sum()),
        model.name,
        results.timings,
    )


def _rows(model: ModelInfo, kind: OutputKind, vectors: NDArray[Any], options: EmbedOptions) -> Rows:
    """Return the rows of one kind, as the options say."""
    width = model.token_width if kind is OutputKind.TOKENS else model.width
    rows = vectors if vectors.ndim == 2 else rows_of(vectors, kind, width)
    if kind is OutputKind.CHUNKS and isinstance(rows, RaggedRows):
        values = truncate_and_normalize(
            rows.values, dimensions=options.dimensions, normalize=options.normalize
        )
        return replace(rows, values=values)
    if isinstance(rows, RaggedRows):
        return rows
    if kind is OutputKind.SCORES:
        return activate(rows, model.activation)
    return truncate_and_normalize(rows, dimensions=options.dimensions, normalize=options.normalize)
