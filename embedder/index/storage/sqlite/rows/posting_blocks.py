"""The blocks of postings of one table, by collection, number and term."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from embedder.index.lexical.blocks import BlockKey, checked, checksum
from embedder.index.storage.sqlite.point_rows import as_json

_COLUMNS = """(
    collection INTEGER NOT NULL, block INTEGER NOT NULL, term TEXT NOT NULL, crc INTEGER NOT NULL,
    entries BLOB NOT NULL, PRIMARY KEY (collection, block, term)) WITHOUT ROWID;
"""
_BLOCKS = """
SELECT p.term, p.crc, p.entries FROM json_each(?) AS j CROSS JOIN {table} AS p
ON p.collection = ? AND p.block = ? AND p.term = j.value
"""
# The numbers of all blocks of a collection are found by one look-up in the index each.
_POSTINGS = """
WITH RECURSIVE blocks(number) AS (
    SELECT min(block) FROM {table} WHERE collection = :own
    UNION ALL
    SELECT (SELECT min(block) FROM {table} WHERE collection = :own AND block > blocks.number)
    FROM blocks WHERE number IS NOT NULL)
SELECT {columns}
FROM blocks CROSS JOIN json_each(:terms) AS j CROSS JOIN {table} AS p
ON p.collection = :own AND p.block = blocks.number AND p.term = j.value
{end}
"""
_CLEAR = (
    "DELETE FROM {table} WHERE (collection, block, term) IN ("
    "SELECT collection, block, term FROM {table} WHERE collection = ? LIMIT ?)"
)


def table_of_blocks(table: str) -> str:
    """Return the statement that creates a table of blocks."""
    return f"CREATE TABLE {table}{_COLUMNS}"


class SqliteBlocks:
    """Reads and changes the blocks of one table on a connection."""

    def __init__(self, db: sqlite3.Connection, table: str) -> None:
        self._db = db
        self._table = table

    def clear_blocks(self, collection: int, most: int) -> bool:
        """Delete up to ``most`` blocks; return False if there were none."""
        return self._db.execute(self._sql(_CLEAR), (collection, most)).rowcount > 0

    def blocks(self, collection: int, keys: Collection[BlockKey]) -> dict[BlockKey, bytes]:
        """Return the stored blocks among the keys."""
        terms: defaultdict[int, list[str]] = defaultdict(list)
        for number, term in keys:
            terms[number].append(term)
        query = self._sql(_BLOCKS)
        return {
            (number, term): checked((number, term), entries, crc)
            for number, some in terms.items()
            for term, crc, entries in self._db.execute(query, (as_json(some), collection, number))
        }

    def put_blocks(self, collection: int, blocks: Mapping[BlockKey, bytes]) -> None:
        """Insert or replace blocks, and delete those that are empty."""
        self._db.executemany(
            self._sql("INSERT OR REPLACE INTO {table} VALUES (?, ?, ?, ?, ?)"),
            (
                (collection, *key, checksum(key, entries), entries)
                for key, entries in blocks.items()
                if entries
            ),
        )
        self._db.executemany(
            self._sql("DELETE FROM {table} WHERE collection = ? AND block = ? AND term = ?"),
            ((collection, *key) for key, entries in blocks.items() if not entries),
        )

    def blocks_of_terms(
        self, collection: int, terms: Sequence[str]
    ) -> Iterator[tuple[int, str, bytes]]:
        """Yield number, term and entries of all blocks of distinct terms.

        Raises:
            DamagedBlock: a block fails its checksum.
        """
        for number, term, crc, entries in self._of_terms(
            collection, terms, "p.block, p.term, p.crc, p.entries"
        ):
            yield number, term, checked((number, term), entries, crc)

    def sizes(self, collection: int, terms: Sequence[str]) -> dict[str, int]:
        """Return the bytes of the entries of those terms that have blocks."""
        columns = "p.term, sum(length(p.entries))"
        return dict(self._of_terms(collection, terms, columns, "GROUP BY p.term"))

    def _of_terms(
        self, collection: int, terms: Sequence[str], columns: str, end: str = ""
    ) -> sqlite3.Cursor:
        given = {"own": collection, "terms": as_json(terms)}
        return self._db.execute(self._sql(_POSTINGS, columns=columns, end=end), given)

    def _sql(self, statement: str, **parts: str) -> str:
        """Return a statement about the table; no part of it comes from a client."""
        return statement.format(table=self._table, **parts)
