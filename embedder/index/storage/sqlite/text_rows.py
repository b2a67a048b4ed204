"""The tables of the index of texts: documents and blocks of postings."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import orjson

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

TEXTS = """
CREATE TABLE text_totals(
    collection INTEGER PRIMARY KEY, documents INTEGER NOT NULL, terms INTEGER NOT NULL,
    indexed INTEGER NOT NULL);
CREATE TABLE text_documents(
    collection INTEGER NOT NULL, pk INTEGER NOT NULL, length INTEGER NOT NULL, terms TEXT NOT NULL,
    PRIMARY KEY (collection, pk)) WITHOUT ROWID;
CREATE TABLE text_postings(
    collection INTEGER NOT NULL, block INTEGER NOT NULL, term TEXT NOT NULL, crc INTEGER NOT NULL,
    entries BLOB NOT NULL, PRIMARY KEY (collection, block, term)) WITHOUT ROWID;
"""

_TOTALS = "SELECT documents, terms, indexed FROM text_totals WHERE collection = ?"
_DOCUMENTS = """
SELECT d.pk, d.length, d.terms FROM json_each(?) AS j CROSS JOIN text_documents AS d
ON d.collection = ? AND d.pk = j.value
"""
_BLOCKS = """
SELECT p.term, p.crc, p.entries FROM json_each(?) AS j CROSS JOIN text_postings AS p
ON p.collection = ? AND p.block = ? AND p.term = j.value
"""
_NUMBERS = """
WITH RECURSIVE blocks(number) AS (
    SELECT min(block) FROM text_postings WHERE collection = :own
    UNION ALL
    SELECT (SELECT min(block) FROM text_postings WHERE collection = :own AND block > blocks.number)
    FROM blocks WHERE number IS NOT NULL)
"""
"""The numbers of all blocks of a collection, each found by one look-up in the index."""
_OF_TERMS = """
FROM blocks CROSS JOIN json_each(:terms) AS j CROSS JOIN text_postings AS p
ON p.collection = :own AND p.block = blocks.number AND p.term = j.value
"""
_POSTINGS = f"{_NUMBERS} SELECT p.block, p.term, p.crc, p.entries {_OF_TERMS}"
_FREQUENCIES = f"{_NUMBERS} SELECT p.term, sum(length(p.entries)) {_OF_TERMS} GROUP BY p.term"
_CLEAR = (
    "DELETE FROM text_documents WHERE (collection, pk) IN ("
    "SELECT collection, pk FROM text_documents WHERE collection = ? LIMIT ?)",
    "DELETE FROM text_postings WHERE (collection, block, term) IN ("
    "SELECT collection, block, term FROM text_postings WHERE collection = ? LIMIT ?)",
)


def create_texts(db: sqlite3.Connection) -> None:
    """Create the tables inside the caller's transaction."""
    for statement in filter(str.strip, TEXTS.split(";")):
        db.execute(statement)


class SqliteTexts:
    """Implements `TextRows`, and reads postings, on a connection."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def totals(self, collection: int) -> TextTotals | None:
        """Return the totals of a collection; None if its texts are not indexed."""
        found = self._db.execute(_TOTALS, (collection,)).fetchone()
        return None if found is None else TextTotals(collection, *found)

    def put_totals(self, totals: TextTotals) -> None:
        """Store the totals of a collection."""
        values = (totals.collection, totals.documents, totals.terms, totals.indexed)
        self._db.execute("INSERT OR REPLACE INTO text_totals VALUES (?, ?, ?, ?)", values)

    def forget(self, collection: int) -> None:
        """Delete the totals of a collection."""
        self._db.execute("DELETE FROM text_totals WHERE collection = ?", (collection,))

    def clear(self, collection: int, most: int) -> bool:
        """Delete up to ``most`` documents and blocks each; return False if there were none."""
        found = [self._db.execute(one, (collection, most)).rowcount for one in _CLEAR]
        return any(found)

    def documents(self, collection: int, pks: Sequence[int]) -> list[Document]:
        """Return the documents among the pks."""
        found = self._db.execute(_DOCUMENTS, (_json(pks), collection))
        return [Document(pk, length, terms.split(" ")) for pk, length, terms in found]

    def put_documents(self, collection: int, documents: Sequence[Document]) -> None:
        """Insert or replace documents."""
        rows = [(collection, one.pk, one.length, " ".join(one.terms)) for one in documents]
        self._db.executemany("INSERT OR REPLACE INTO text_documents VALUES (?, ?, ?, ?)", rows)

    def delete_documents(self, collection: int, pks: Sequence[int]) -> None:
        """Delete the documents of these pks."""
        rows = [(collection, pk) for pk in pks]
        self._db.executemany("DELETE FROM text_documents WHERE collection = ? AND pk = ?", rows)

    def blocks(self, collection: int, keys: Collection[BlockKey]) -> dict[BlockKey, bytes]:
        """Return the stored blocks among the keys."""
        terms: defaultdict[int, list[str]] = defaultdict(list)
        for number, term in keys:
            terms[number].append(term)
        return {
            (number, term): checked((number, term), entries, crc)
            for number, some in terms.items()
            for term, crc, entries in self._db.execute(_BLOCKS, (_json(some), collection, number))
        }

    def put_blocks(self, collection: int, blocks: Mapping[BlockKey, bytes]) -> None:
        """Insert or replace blocks, and delete those that are empty."""
        self._db.executemany(
            "INSERT OR REPLACE INTO text_postings VALUES (?, ?, ?, ?, ?)",
            (
                (collection, *key, checksum(key, entries), entries)
                for key, entries in blocks.items()
                if entries
            ),
        )
        self._db.executemany(
            "DELETE FROM text_postings WHERE collection = ? AND block = ? AND term = ?",
            ((collection, *key) for key, entries in blocks.items() if not entries),
        )

    def statistics(self, collection: int, terms: Sequence[str]) -> TextStatistics | None:
        """Return the statistics of terms; None if the texts are not all indexed."""
        totals = self.totals(collection)
        if totals is None or totals.indexed < ALL:
            return None
        given = {"own": collection, "terms": _json(terms)}
        found = dict(self._db.execute(_FREQUENCIES, given).fetchall())
        frequencies = {term: size_of(found.get(term, 0)) for term in terms}
        return TextStatistics(totals.documents, totals.terms, frequencies)

    def postings(self, collection: int, terms: Sequence[str]) -> dict[str, Postings]:
        """Return the postings of distinct terms.

        Raises:
            DamagedBlock: a block fails its checksum.
        """
        rows = self._db.execute(_POSTINGS, {"own": collection, "terms": _json(terms)})
        return by_term(
            terms,
            (
                (number, term, checked((number, term), entries, crc))
                for number, term, crc, entries in rows
            ),
        )


def _json(values: Sequence[str] | Sequence[int]) -> str:
    return orjson.dumps(list(values)).decode()
