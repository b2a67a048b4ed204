"""Requests to the pipeline and their results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from embedder.core.types import (
    Entries,
    Input,
    InputType,
    Priority,
    Timings,
    Truncate,
    Vectors,
)


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
    """float32[n, labels], one row per input, in order; the rest is as in `Embeddings`."""

    scores: Vectors
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


@dataclass(frozen=True, slots=True)
class DistinctInputs:
    """The distinct inputs of one request, with the prompt in front of texts.

    ``rows`` are the rows of their first occurrence in the request. ``truncate`` is the end that is
    cut, as options and model decide.
    """

    keys: list[bytes]
    rows: list[int]
    inputs: list[Input]
    truncate: Truncate

    @classmethod
    def of(
        cls, keys: Sequence[bytes], inputs: Sequence[Input], prompt: str, truncate: Truncate
    ) -> DistinctInputs:
        """Return the distinct inputs, with the first row of every key."""
        first_rows: dict[bytes, int] = {}
        for row, key in enumerate(keys):
            first_rows.setdefault(key, row)
        rows = list(first_rows.values())
        distinct = list(map(inputs.__getitem__, rows))
        if prompt:
            join = PromptedText.of if truncate is Truncate.START else str.__add__
            distinct = [join(prompt, one) if isinstance(one, str) else one for one in distinct]
        return cls(list(first_rows), rows, distinct, truncate)

    def subset(self, numbers: list[int]) -> DistinctInputs:
        """Return the distinct inputs of the given numbers, in their order."""
        if numbers == list(range(len(self.keys))):
            return self
        return DistinctInputs(
            [self.keys[number] for number in numbers],
            [self.rows[number] for number in numbers],
            [self.inputs[number] for number in numbers],
            self.truncate,
        )

    def expand(self, keys: Sequence[bytes]) -> NDArray[np.intp]:
        """Return the number of the distinct input of each of ``keys``."""
        numbers = dict(zip(self.keys, range(len(self.keys)), strict=True))
        return np.fromiter(map(numbers.__getitem__, keys), np.intp, len(keys))


@dataclass(frozen=True, slots=True)
class CacheHits:
    """The result of a lookup of many keys: the rows that were found, and their entries.

    ``ttls_s`` float64[n] is the remaining time to live of each entry; None: no entry expires.
    """

    rows: NDArray[np.intp]
    entries: Entries
    ttls_s: NDArray[np.float64] | None = None

    def ttls_of(self, count: int) -> NDArray[np.float64] | None:
        """Return the time to live for each of ``count`` keys; infinity for keys not found."""
        if self.ttls_s is None:
            return None
        ttls_s = np.full(count, np.inf)
        ttls_s[self.rows] = self.ttls_s
        return ttls_s

    @classmethod
    def empty(cls, width: int) -> CacheHits:
        """Return the result of a lookup that found no key."""
        return cls(np.empty(0, np.intp), Entries.allocate(0, width))

    @classmethod
    def merged(cls, parts: Sequence[tuple[NDArray[np.intp], CacheHits]], width: int) -> CacheHits:
        """Merge the hits of several lookups, each for the given rows of one list of keys."""
        if len(parts) == 1:
            rows, hits = parts[0]
            return cls(rows[hits.rows], hits.entries, hits.ttls_s)
        if not parts:
            return cls.empty(width)
        rows = np.concatenate([rows[hits.rows] for rows, hits in parts])
        order = np.argsort(rows)
        entries = Entries.concatenate([hits.entries for _, hits in parts]).take(order)
        if all(hits.ttls_s is None for _, hits in parts):
            return cls(rows[order], entries)
        ttls = [
            np.full(len(hits.rows), np.inf) if hits.ttls_s is None else hits.ttls_s
            for _, hits in parts
        ]
        return cls(rows[order], entries, np.concatenate(ttls)[order])


@dataclass(slots=True)
class EntryResults:
    """Entries of n inputs, ``cached`` bool[n], and the longest timings of their computations."""

    entries: Entries
    cached: NDArray[np.bool_]
    timings: Timings = field(default_factory=Timings)

    @classmethod
    def of_hits(cls, hits: CacheHits, count: int, width: int) -> EntryResults:
        """Return ``count`` rows, of which only the hits are filled and marked as cached."""
        if len(hits.rows) == count:
            return cls(hits.entries, np.ones(count, np.bool_))
        results = cls(Entries.allocate(count, width), np.zeros(count, np.bool_))
        if len(hits.rows):
            results.entries.put(hits.rows, hits.entries)
            results.cached[hits.rows] = True
        return results

    def missing(self) -> list[int]:
        """Return the rows that were not in a cache."""
        rows: list[int] = np.flatnonzero(~self.cached).tolist()
        return rows

    def fill(self, missing: list[int], entries: Entries) -> None:
        """Set the entries of all missing rows; they are kept as they are if that is every row."""
        if len(missing) == len(self.cached):
            self.entries = entries
        else:
            self.entries.put(np.array(missing, np.intp), entries)

    def put(
        self, rows: NDArray[np.intp], source: EntryResults, source_rows: NDArray[np.intp]
    ) -> None:
        """Overwrite the given rows with some rows of ``source``, and merge its timings."""
        self.entries.put(rows, source.entries.take(source_rows))
        self.cached[rows] = source.cached[source_rows]
        self.timings = self.timings.longest(source.timings)
