"""The blocks of postings of one table, by collection, number and term."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from embedder.index.lexical.blocks import BlockKey, checked, checksum
from embedder.index.storage.postgres.collection_table import decoded

# A write replaces the blocks of its terms: the free space lets their new versions stay on the page.
_CREATE = """
CREATE TABLE embedder.{table}(
    collection bigint NOT NULL, block bigint NOT NULL, term bytea NOT NULL, crc bigint NOT NULL,
    entries bytea NOT NULL, PRIMARY KEY (collection, block, term)) WITH (fillfactor = 70);
"""
_BLOCKS = """
SELECT p.block, p.term, p.crc, p.entries
FROM unnest(%b::bigint[], %b::bytea[]) AS given(block, term) CROSS JOIN LATERAL (
    SELECT * FROM embedder.{table}
    WHERE collection = %s AND block = given.block AND term = given.term LIMIT 1) AS p
"""
_PUT_BLOCKS = """
INSERT INTO embedder.{table}(collection, block, term, crc, entries)
SELECT %s, n.block, n.term, n.crc, n.entries
FROM unnest(%b::bigint[], %b::bytea[], %b::bigint[], %b::bytea[]) AS n(block, term, crc, entries)
ON CONFLICT (collection, block, term) DO UPDATE SET crc = excluded.crc, entries = excluded.entries
"""
_DELETE_BLOCKS = """
DELETE FROM embedder.{table} AS p
USING unnest(%b::bigint[], %b::bytea[]) AS given(block, term)
WHERE p.collection = %s AND p.term = given.term AND p.block = given.block
"""
# The numbers of all blocks of a collection are found by one look-up in the index each.
_POSTINGS = """
WITH RECURSIVE given AS (SELECT %s::bigint AS own, %b::bytea[] AS terms), blocks(own, number) AS (
    SELECT own, (SELECT min(block) FROM embedder.{table} WHERE collection = own) FROM given
    UNION ALL
    SELECT own, (
        SELECT min(block) FROM embedder.{table} WHERE collection = own AND block > number)
    FROM blocks WHERE number IS NOT NULL)
SELECT {columns}
FROM given CROSS JOIN blocks CROSS JOIN LATERAL unnest(given.terms) AS one(term)
CROSS JOIN LATERAL (
    SELECT * FROM embedder.{table}
    WHERE collection = blocks.own AND block = blocks.number AND term = one.term LIMIT 1) AS p
{end}
"""

Fetch = Callable[[str, Sequence[object]], list[tuple[Any, ...]]]
"""Runs a query with its parameters, and returns its rows in binary form."""

Execute = Callable[[str, Sequence[object]], object]
"""Runs a statement with its parameters, and need not wait for its end."""


def table_of_blocks(table: str) -> str:
    """Return the statement that creates a table of blocks."""
    return _CREATE.format(table=table)


def deletion(table: str) -> str:
    """Return the statement that deletes so many rows of a collection from a table."""
    return (
        f"DELETE FROM embedder.{table} WHERE ctid = ANY(ARRAY("  # noqa: S608 - constants
        f"SELECT ctid FROM embedder.{table} WHERE collection = %s LIMIT %s)) RETURNING 1"
    )


def read_only(*_: object) -> NoReturn:
    """Stand for statements that change rows, where rows are only read."""
    raise AssertionError("these rows are only read")


class PostgresBlocks:
    """Reads the blocks of one table by ``fetch``, and changes them by ``execute``."""

    def __init__(self, table: str, fetch: Fetch, execute: Execute) -> None:
        self._table = table
        self._fetch, self._execute = fetch, execute

    def blocks_of_terms(
        self, collection: int, terms: Sequence[str]
    ) -> Iterator[tuple[int, str, bytes]]:
        """Yield number, term and entries of all blocks of distinct terms.

        Raises:
            DamagedBlock: a block fails its checksum.
        """
        columns = "p.block, p.term, p.crc, p.entries"
        found = _checked(self._of_terms(collection, terms, columns))
        return ((number, term, entries) for (number, term), entries in found.items())

    def sizes(self, collection: int, terms: Sequence[str]) -> dict[str, int]:
        """Return the bytes of the entries of those terms that have blocks."""
        columns = "p.term, sum(octet_length(p.entries))::bigint"
        rows = self._of_terms(collection, terms, columns, "GROUP BY p.term")
        return {decoded(term): size for term, size in rows}

    def clear_blocks(self, collection: int, most: int) -> bool:
        """Delete up to ``most`` blocks; return False if there were none."""
        return bool(self._fetch(deletion(self._table), (collection, most)))

    def blocks(self, collection: int, keys: Collection[BlockKey]) -> dict[BlockKey, bytes]:
        """Return the stored blocks among the keys."""
        return _checked(self._fetch(self._sql(_BLOCKS), (*_columns(keys), collection)))

    def put_blocks(self, collection: int, blocks: Mapping[BlockKey, bytes]) -> None:
        """Insert or replace blocks, and delete those that are empty."""
        kept = {key: entries for key, entries in blocks.items() if entries}
        if kept:
            crcs = [checksum(*one) for one in kept.items()]
            values = (collection, *_columns(kept), crcs, list(kept.values()))
            self._execute(self._sql(_PUT_BLOCKS), values)
        if emptied := blocks.keys() - kept.keys():
            self._execute(self._sql(_DELETE_BLOCKS), (*_columns(emptied), collection))

    def _of_terms(
        self, collection: int, terms: Sequence[str], columns: str, end: str = ""
    ) -> list[tuple[Any, ...]]:
        query = self._sql(_POSTINGS, columns=columns, end=end)
        return self._fetch(query, (collection, [term.encode() for term in terms]))

    def _sql(self, statement: str, **parts: str) -> str:
        """Return a statement about the table; no part of it comes from a client."""
        return statement.format(table=self._table, **parts)


def _columns(keys: Collection[BlockKey]) -> tuple[list[int], list[bytes]]:
    return [number for number, _ in keys], [term.encode() for _, term in keys]


def _checked(rows: Sequence[tuple[Any, ...]]) -> dict[BlockKey, bytes]:
    found = (((number, decoded(term)), entries, crc) for number, term, crc, entries in rows)
    return {key: checked(key, entries, crc) for key, entries, crc in found}
