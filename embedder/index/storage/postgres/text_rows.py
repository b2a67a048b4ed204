"""The tables of the index of texts: documents and blocks of postings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from embedder.index.contract.texts import TextStatistics
from embedder.index.lexical.blocks import (
    BlockKey,
    Postings,
    by_term,
    checked,
    checksum,
    size_of,
)
from embedder.index.lexical.text_index import ALL, Document, TextTotals
from embedder.index.storage.postgres.collection_table import decoded

if TYPE_CHECKING:
    from embedder.index.storage.postgres.connection.limited_connection import LimitedConnection

# A write replaces the blocks of its terms: the free space lets their new versions stay on the page.
TEXTS = """
CREATE TABLE embedder.text_totals(
    collection bigint PRIMARY KEY, documents bigint NOT NULL, terms bigint NOT NULL,
    indexed bigint NOT NULL) WITH (fillfactor = 50);
CREATE TABLE embedder.text_documents(
    collection bigint NOT NULL, pk bigint NOT NULL, length bigint NOT NULL, terms bytea NOT NULL,
    PRIMARY KEY (collection, pk));
CREATE TABLE embedder.text_postings(
    collection bigint NOT NULL, block bigint NOT NULL, term bytea NOT NULL, crc bigint NOT NULL,
    entries bytea NOT NULL, PRIMARY KEY (collection, block, term)) WITH (fillfactor = 70);
"""

_TOTALS = "SELECT documents, terms, indexed FROM embedder.text_totals WHERE collection = %s"
_PUT_TOTALS = """
INSERT INTO embedder.text_totals(collection, documents, terms, indexed) VALUES (%s, %s, %s, %s)
ON CONFLICT (collection) DO UPDATE SET documents = excluded.documents, terms = excluded.terms,
    indexed = excluded.indexed
"""
_DOCUMENTS = """
SELECT d.pk, d.length, d.terms FROM unnest(%b::bigint[]) AS given(pk) CROSS JOIN LATERAL (
    SELECT * FROM embedder.text_documents WHERE collection = %s AND pk = given.pk LIMIT 1) AS d
"""
_PUT_DOCUMENTS = """
INSERT INTO embedder.text_documents(collection, pk, length, terms)
SELECT %s, n.pk, n.length, n.terms
FROM unnest(%b::bigint[], %b::bigint[], %b::bytea[]) AS n(pk, length, terms)
ON CONFLICT (collection, pk) DO UPDATE SET length = excluded.length, terms = excluded.terms
"""
_DELETE_DOCUMENTS = "DELETE FROM embedder.text_documents WHERE collection = %s AND pk = ANY(%b)"
_BLOCKS = """
SELECT p.block, p.term, p.crc, p.entries
FROM unnest(%b::bigint[], %b::bytea[]) AS given(block, term) CROSS JOIN LATERAL (
    SELECT * FROM embedder.text_postings
    WHERE collection = %s AND block = given.block AND term = given.term LIMIT 1) AS p
"""
_PUT_BLOCKS = """
INSERT INTO embedder.text_postings(collection, block, term, crc, entries)
SELECT %s, n.block, n.term, n.crc, n.entries
FROM unnest(%b::bigint[], %b::bytea[], %b::bigint[], %b::bytea[]) AS n(block, term, crc, entries)
ON CONFLICT (collection, block, term) DO UPDATE SET crc = excluded.crc, entries = excluded.entries
"""
_DELETE_BLOCKS = """
DELETE FROM embedder.text_postings AS p
USING unnest(%b::bigint[], %b::bytea[]) AS given(block, term)
WHERE p.collection = %s AND p.term = given.term AND p.block = given.block
"""
_NUMBERS = """
WITH RECURSIVE given AS (SELECT %s::bigint AS own, %b::bytea[] AS terms), blocks(own, number) AS (
    SELECT own, (SELECT min(block) FROM embedder.text_postings WHERE collection = own) FROM given
    UNION ALL
    SELECT own, (
        SELECT min(block) FROM embedder.text_postings WHERE collection = own AND block > number)
    FROM blocks WHERE number IS NOT NULL)
"""
"""The numbers of all blocks of a collection, each found by one look-up in the index."""
_OF_TERMS = """
FROM given CROSS JOIN blocks CROSS JOIN LATERAL unnest(given.terms) AS one(term)
CROSS JOIN LATERAL (
    SELECT * FROM embedder.text_postings
    WHERE collection = blocks.own AND block = blocks.number AND term = one.term LIMIT 1) AS p
"""
_POSTINGS = f"{_NUMBERS} SELECT p.block, p.term, p.crc, p.entries {_OF_TERMS}"
_FREQUENCIES = f"""{_NUMBERS}
SELECT p.term, sum(octet_length(p.entries))::bigint {_OF_TERMS} GROUP BY p.term
"""
_CLEAR = [
    f"DELETE FROM embedder.{table} WHERE ctid = ANY(ARRAY("  # noqa: S608 - constants
    f"SELECT ctid FROM embedder.{table} WHERE collection = %s LIMIT %s)) RETURNING 1"
    for table in ("text_documents", "text_postings")
]

Fetch = Callable[[str, Sequence[object]], list[tuple[Any, ...]]]
"""Runs a query with its parameters, and returns its rows in binary form."""


class PostgresTextReader:
    """Reads the index of texts by ``fetch``."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch

    def totals(self, collection: int) -> TextTotals | None:
        """Return the totals of a collection; None if its texts are not indexed."""
        found = self._fetch(_TOTALS, (collection,))
        return TextTotals(collection, *found[0]) if found else None

    def statistics(self, collection: int, terms: Sequence[str]) -> TextStatistics | None:
        """Return the statistics of terms; None if the texts are not all indexed."""
        totals = self.totals(collection)
        if totals is None or totals.indexed < ALL:
            return None
        rows = self._fetch(_FREQUENCIES, (collection, _encoded(terms)))
        found = {decoded(term): size_of(size) for term, size in rows}
        frequencies = {term: found.get(term, 0) for term in terms}
        return TextStatistics(totals.documents, totals.terms, frequencies)

    def postings(self, collection: int, terms: Sequence[str]) -> dict[str, Postings]:
        """Return the postings of distinct terms.

        Raises:
            DamagedBlock: a block fails its checksum.
        """
        rows = self._fetch(_POSTINGS, (collection, _encoded(terms)))
        blocks = _checked(rows).items()
        return by_term(terms, ((number, term, entries) for (number, term), entries in blocks))


class PostgresTexts(PostgresTextReader):
    """Implements `TextRows` on a connection whose caller has begun a transaction."""

    def __init__(self, db: LimitedConnection, fetch: Fetch) -> None:
        super().__init__(fetch)
        self._db = db

    def put_totals(self, totals: TextTotals) -> None:
        """Store the totals of a collection."""
        values = (totals.collection, totals.documents, totals.terms, totals.indexed)
        self._db.execute(_PUT_TOTALS, values)

    def forget(self, collection: int) -> None:
        """Delete the totals of a collection."""
        self._db.execute("DELETE FROM embedder.text_totals WHERE collection = %s", (collection,))

    def clear(self, collection: int, most: int) -> bool:
        """Delete up to ``most`` documents and blocks each; return False if there were none."""
        found = [self._fetch(one, (collection, most)) for one in _CLEAR]
        return any(found)

    def documents(self, collection: int, pks: Sequence[int]) -> list[Document]:
        """Return the documents among the pks."""
        rows = self._fetch(_DOCUMENTS, (list(pks), collection))
        return [Document(pk, length, decoded(terms).split(" ")) for pk, length, terms in rows]

    def put_documents(self, collection: int, documents: Sequence[Document]) -> None:
        """Insert or replace documents."""
        if documents:
            columns = [one.pk for one in documents], [one.length for one in documents]
            terms = _encoded([" ".join(one.terms) for one in documents])
            self._db.execute(_PUT_DOCUMENTS, (collection, *columns, terms))

    def delete_documents(self, collection: int, pks: Sequence[int]) -> None:
        """Delete the documents of these pks."""
        if pks:
            self._db.execute(_DELETE_DOCUMENTS, (collection, list(pks)))

    def blocks(self, collection: int, keys: Collection[BlockKey]) -> dict[BlockKey, bytes]:
        """Return the stored blocks among the keys."""
        return _checked(self._fetch(_BLOCKS, (*_columns(keys), collection)))

    def put_blocks(self, collection: int, blocks: Mapping[BlockKey, bytes]) -> None:
        """Insert or replace blocks, and delete those that are empty."""
        kept = {key: entries for key, entries in blocks.items() if entries}
        if kept:
            crcs = [checksum(*one) for one in kept.items()]
            self._db.execute(_PUT_BLOCKS, (collection, *_columns(kept), crcs, list(kept.values())))
        if emptied := blocks.keys() - kept.keys():
            self._db.execute(_DELETE_BLOCKS, (*_columns(emptied), collection))


def _encoded(terms: Sequence[str]) -> list[bytes]:
    return [term.encode() for term in terms]


def _columns(keys: Collection[BlockKey]) -> tuple[list[int], list[bytes]]:
    return [number for number, _ in keys], [term.encode() for _, term in keys]


def _checked(rows: Sequence[tuple[Any, ...]]) -> dict[BlockKey, bytes]:
    found = (((number, decoded(term)), entries, crc) for number, term, crc, entries in rows)
    return {key: checked(key, entries, crc) for key, entries, crc in found}
