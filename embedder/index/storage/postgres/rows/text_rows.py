"""The tables of the index of texts: documents and blocks of postings."""

from __future__ import annotations

from collections.abc import Sequence

from embedder.index.contract.texts import TextStatistics
from embedder.index.lexical.blocks import Postings, by_term, size_of
from embedder.index.lexical.text_index import ALL, Document, TextTotals
from embedder.index.storage.postgres.collection_table import decoded
from embedder.index.storage.postgres.rows.posting_blocks import (
    Execute,
    Fetch,
    PostgresBlocks,
    deletion,
    read_only,
    table_of_blocks,
)

POSTINGS = "text_postings"
TEXTS = f"""
CREATE TABLE embedder.text_totals(
    collection bigint PRIMARY KEY, documents bigint NOT NULL, terms bigint NOT NULL,
    indexed bigint NOT NULL) WITH (fillfactor = 50);
CREATE TABLE embedder.text_documents(
    collection bigint NOT NULL, pk bigint NOT NULL, length bigint NOT NULL, terms bytea NOT NULL,
    PRIMARY KEY (collection, pk));
{table_of_blocks(POSTINGS)}"""

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


class PostgresTexts(PostgresBlocks):
    """Implements `TextRows`, and reads postings; ``execute`` is needed for changes alone."""

    def __init__(self, fetch: Fetch, execute: Execute = read_only) -> None:
        super().__init__(POSTINGS, fetch, execute)

    def totals(self, collection: int) -> TextTotals | None:
        """Return the totals of a collection; None if its texts are not indexed."""
        found = self._fetch(_TOTALS, (collection,))
        return TextTotals(collection, *found[0]) if found else None

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

    def put_totals(self, totals: TextTotals) -> None:
        """Store the totals of a collection."""
        values = (totals.collection, totals.documents, totals.terms, totals.indexed)
        self._execute(_PUT_TOTALS, values)

    def forget(self, collection: int) -> None:
        """Delete the totals of a collection."""
        self._execute("DELETE FROM embedder.text_totals WHERE collection = %s", (collection,))

    def clear(self, collection: int, most: int) -> bool:
        """Delete up to ``most`` documents and blocks each; return False if there were none."""
        documents = self._fetch(deletion("text_documents"), (collection, most))
        return self.clear_blocks(collection, most) or bool(documents)

    def documents(self, collection: int, pks: Sequence[int]) -> list[Document]:
        """Return the documents among the pks."""
        rows = self._fetch(_DOCUMENTS, (list(pks), collection))
        return [Document(pk, length, decoded(terms).split(" ")) for pk, length, terms in rows]

    def put_documents(self, collection: int, documents: Sequence[Document]) -> None:
        """Insert or replace documents."""
        if documents:
            columns = [one.pk for one in documents], [one.length for one in documents]
            terms = _encoded([" ".join(one.terms) for one in documents])
            self._execute(_PUT_DOCUMENTS, (collection, *columns, terms))

    def delete_documents(self, collection: int, pks: Sequence[int]) -> None:
        """Delete the documents of these pks."""
        if pks:
            self._execute(_DELETE_DOCUMENTS, (collection, list(pks)))


def _encoded(terms: Sequence[str]) -> list[bytes]:
    return [term.encode() for term in terms]
