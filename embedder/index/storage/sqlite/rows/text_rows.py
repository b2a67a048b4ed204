"""The tables of the index of texts: documents and blocks of postings."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from embedder.index.contract.texts import TextStatistics
from embedder.index.lexical.blocks import Postings, by_term, size_of
from embedder.index.lexical.text_index import ALL, Document, TextTotals
from embedder.index.storage.sqlite.point_rows import as_json
from embedder.index.storage.sqlite.rows.posting_blocks import SqliteBlocks, table_of_blocks

POSTINGS = "text_postings"
TEXTS = f"""
CREATE TABLE text_totals(
    collection INTEGER PRIMARY KEY, documents INTEGER NOT NULL, terms INTEGER NOT NULL,
    indexed INTEGER NOT NULL);
CREATE TABLE text_documents(
    collection INTEGER NOT NULL, pk INTEGER NOT NULL, length INTEGER NOT NULL, terms TEXT NOT NULL,
    PRIMARY KEY (collection, pk)) WITHOUT ROWID;
{table_of_blocks(POSTINGS)}"""

_TOTALS = "SELECT documents, terms, indexed FROM text_totals WHERE collection = ?"
_DOCUMENTS = """
SELECT d.pk, d.length, d.terms FROM json_each(?) AS j CROSS JOIN text_documents AS d
ON d.collection = ? AND d.pk = j.value
"""
_CLEAR = (
    "DELETE FROM text_documents WHERE (collection, pk) IN ("
    "SELECT collection, pk FROM text_documents WHERE collection = ? LIMIT ?)"
)


class SqliteTexts(SqliteBlocks):
    """Implements `TextRows`, and reads postings, on a connection."""

    def __init__(self, db: sqlite3.Connection) -> None:
        super().__init__(db, POSTINGS)

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
        documents = self._db.execute(_CLEAR, (collection, most)).rowcount
        return self.clear_blocks(collection, most) or documents > 0

    def documents(self, collection: int, pks: Sequence[int]) -> list[Document]:
        """Return the documents among the pks."""
        found = self._db.execute(_DOCUMENTS, (as_json(pks), collection))
        return [Document(pk, length, terms.split(" ")) for pk, length, terms in found]

    def put_documents(self, collection: int, documents: Sequence[Document]) -> None:
        """Insert or replace documents."""
        rows = [(collection, one.pk, one.length, " ".join(one.terms)) for one in documents]
        self._db.executemany("INSERT OR REPLACE INTO text_documents VALUES (?, ?, ?, ?)", rows)

    def delete_documents(self, collection: int, pks: Sequence[int]) -> None:
        """Delete the documents of these pks."""
        rows = [(collection, pk) for pk in pks]
        self._db.executemany("DELETE FROM text_documents WHERE collection = ? AND pk = ?", rows)

    def statistics(self, collection: int, terms: Sequence[str]) -> TextStatistics | None:
        """Return the statistics of terms; None if the texts are not all indexed."""
        totals = self.totals(collection)
        if totals is None or totals.indexed < ALL:
            return None
        found = self.sizes(collection, terms)
        frequencies = {term: size_of(found.get(term, 0)) for term in terms}
        return TextStatistics(totals.documents, totals.terms, frequencies)

    def postings(self, collection: int, terms: Sequence[str]) -> dict[str, Postings]:
        """Return the postings of distinct terms.

        Raises:
            DamagedBlock: a block fails its checksum.
        """
        return by_term(terms, self.blocks_of_terms(collection, terms))
