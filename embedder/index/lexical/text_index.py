"""Keeps the index of the texts of a collection as its points are, inside the writes of a store.

The index has a document for each text with a term, and blocks of postings for each term. It covers
the points up to a pk: all of them, unless an earlier version has stored texts without an index.
These are indexed step by step, see `embedder.index.storage.posting_indexing`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from embedder.index.lexical.analyzer import terms_of
from embedder.index.lexical.blocks import BLOCK, BlockKey, DamagedBlock, entry, merged

ALL = 2**62
"""The highest pk: an index that covers it is complete."""

CHUNK = 1024
"""Points whose blocks are in memory at a time."""


@dataclass(frozen=True, slots=True)
class TextTotals:
    """The numbers of the documents of a collection and of their terms.

    ``indexed`` is the last pk that the index covers.
    """

    collection: int
    documents: int = 0
    terms: int = 0
    indexed: int = ALL


@dataclass(frozen=True, slots=True)
class Document:
    """An indexed text: the number of its terms, and the distinct ones."""

    pk: int
    length: int
    terms: Sequence[str]


class TextRows(Protocol):
    """The rows of the index of texts in a transaction of a store."""

    def totals(self, collection: int) -> TextTotals | None:
        """Return the totals of a collection; None if its texts are not indexed."""

    def put_totals(self, totals: TextTotals) -> None:
        """Store the totals of a collection."""

    def forget(self, collection: int) -> None:
        """Delete the totals of a collection, so that all of its texts are indexed again."""

    def clear(self, collection: int, most: int) -> bool:
        """Delete up to ``most`` documents and blocks each; return False if there were none."""

    def documents(self, collection: int, pks: Sequence[int]) -> list[Document]:
        """Return the documents among the pks."""

    def put_documents(self, collection: int, documents: Sequence[Document]) -> None:
        """Insert or replace documents."""

    def delete_documents(self, collection: int, pks: Sequence[int]) -> None:
        """Delete the documents of these pks."""

    def blocks(self, collection: int, keys: Collection[BlockKey]) -> dict[BlockKey, bytes]:
        """Return the stored blocks among the keys.

        Raises:
            DamagedBlock: a block fails its checksum.
        """

    def put_blocks(self, collection: int, blocks: Mapping[BlockKey, bytes]) -> None:
        """Insert or replace blocks, and delete those that are empty."""


def index_points(
    rows: TextRows, collection: int, pks: Sequence[int], texts: Sequence[str | None]
) -> None:
    """Index the texts of points that a write has stored; None removes that of a point."""
    totals = rows.totals(collection)
    if totals is None:
        return
    covered = [(pk, text) for pk, text in zip(pks, texts, strict=True) if pk <= totals.indexed]
    try:
        after = totals
        for start in range(0, len(covered), CHUNK):
            after = _index(rows, after, covered[start : start + CHUNK])
    except DamagedBlock:
        rows.forget(collection)  # the points themselves are undamaged
    else:
        if after != totals:
            rows.put_totals(after)


def extend(rows: TextRows, totals: TextTotals, points: Sequence[tuple[int, str]]) -> None:
    """Index the texts of the next points, up to the last of them; without points, of all.

    Raises:
        DamagedBlock: a block fails its checksum.
    """
    after = replace(totals, indexed=points[-1][0] if points else ALL)
    rows.put_totals(_index(rows, after, points) if points else after)


def _index(
    rows: TextRows, totals: TextTotals, points: Sequence[tuple[int, str | None]]
) -> TextTotals:
    known = rows.documents(totals.collection, [pk for pk, _ in points])
    counts = {pk: Counter(terms_of(text)) for pk, text in sorted(points) if text is not None}
    counts = {pk: found for pk, found in counts.items() if found}
    if not known and not counts:
        return totals
    new = [Document(pk, found.total(), list(found)) for pk, found in counts.items()]
    _change_blocks(rows, totals.collection, known, counts)
    rows.delete_documents(totals.collection, [one.pk for one in known if one.pk not in counts])
    rows.put_documents(totals.collection, new)
    return replace(
        totals,
        documents=totals.documents + len(new) - len(known),
        terms=totals.terms + _length(new) - _length(known),
    )


def _change_blocks(
    rows: TextRows, collection: int, known: Iterable[Document], counts: Mapping[int, Counter[str]]
) -> None:
    removed: defaultdict[BlockKey, set[int]] = defaultdict(set)
    added: defaultdict[BlockKey, bytes] = defaultdict(bytes)
    for document in known:
        number, at = divmod(document.pk, BLOCK)
        for term in document.terms:
            removed[number, term].add(at)
    for pk, found in counts.items():
        length = found.total()
        for term, tf in found.items():
            added[pk // BLOCK, term] += entry(pk, tf, length)
    stored = rows.blocks(collection, removed.keys() | added.keys())
    changed = {
        key: merged(stored.get(key, b""), removed.get(key, ()), added.get(key, b""))
        for key in sorted(removed.keys() | added.keys())
    }
    rows.put_blocks(collection, changed)


def _length(documents: Iterable[Document]) -> int:
    return sum(document.length for document in documents)
