"""What the indexes of texts and of sparse weights cost, beside other layouts of texts in SQLite.

``python -m benchmarks.text_index --data DIR`` makes texts of 100 terms from those of DIR/cranfield,
and stores them in three layouts: blocks of postings, as the index has them, one row for each
posting, and FTS5 with its lists of instances. Then points with and without texts, and with sparse
weights of the terms, are upserted into an index, in SQLite or at ``--url``, and the questions are
searched.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.cranfield import read_texts
from embedder.index.contract.points import Points, Query
from embedder.index.contract.sparse import SparseVector
from embedder.index.contract.sparse_queries import SparseQuery
from embedder.index.contract.texts import TextQuery
from embedder.index.lexical.analyzer import terms_of
from embedder.index.lexical.text_index import TextTotals, index_points
from embedder.index.storage.sqlite.rows.text_rows import TEXTS, SqliteTexts
from embedder.index.vector_index import VectorIndex
from embedder.settings.model import IndexSettings

BATCH = 100
WIDTH = 384
HALF = 50

Write = Callable[[sqlite3.Connection, Sequence[int], Sequence[list[str]]], None]
Read = Callable[[sqlite3.Connection, str], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print two tables; return 0."""
    parser = argparse.ArgumentParser(prog="benchmarks.text_index", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of cranfield/")
    parser.add_argument("--count", type=int, default=20_000, help="texts (20,000)")
    parser.add_argument("--url", help="a PostgreSQL database for the index")
    options = parser.parse_args(arguments)
    folder = options.data / "cranfield"
    texts = mixed([*read_texts(folder / "corpus.jsonl.gz").values()], options.count)
    questions = [*read_texts(folder / "queries.jsonl").values()][:50]
    if options.url is None:
        for name, layout in LAYOUTS.items():
            print(f"{name:16}{_layout(layout, texts, questions)}")
    weights = weighted([*texts, *questions])
    stored, asked = weights[: len(texts)], weights[len(texts) :]
    none = [None] * len(texts)
    for name, given, sparse in (
        ("vectors", none, none),
        ("with texts", texts, none),
        ("with weights", none, stored),
        ("with both", texts, stored),
    ):
        print(f"{name:16}{_index(given, sparse, questions, asked, options.url)}")
    return 0


def mixed(corpus: Sequence[str], count: int) -> list[str]:
    """Return texts of 100 terms or fewer, each of parts of two texts."""
    chosen, terms = random.Random(0), [terms_of(text) for text in corpus]

    def part() -> list[str]:
        one = chosen.choice(terms)
        start = chosen.randrange(max(1, len(one) - HALF))
        return one[start : start + HALF]

    return [" ".join(part() + part()) for _ in range(count)]


def weighted(texts: Sequence[str]) -> list[SparseVector]:
    """Return a sparse vector of each text, with an id for each of its terms and random weights."""
    numbers: dict[str, int] = {}
    chosen = random.Random(1)
    found = []
    for text in texts:
        ids = {numbers.setdefault(term, len(numbers)) for term in terms_of(text)}
        found.append(SparseVector.of({one: chosen.random() for one in ids}))
    return found


def _write_blocks(db: sqlite3.Connection, pks: Sequence[int], texts: Sequence[list[str]]) -> None:
    index_points(SqliteTexts(db), 1, pks, [" ".join(text) for text in texts])


def _write_rows(db: sqlite3.Connection, pks: Sequence[int], texts: Sequence[list[str]]) -> None:
    rows = sorted(
        (1, term, pk, tf, len(text))
        for pk, text in zip(pks, texts, strict=True)
        for term, tf in Counter(text).items()
    )
    db.executemany("INSERT INTO postings VALUES (?, ?, ?, ?, ?)", rows)


def _write_fts(db: sqlite3.Connection, pks: Sequence[int], texts: Sequence[list[str]]) -> None:
    rows = [(pk, " ".join(text)) for pk, text in zip(pks, texts, strict=True)]
    db.executemany("INSERT INTO texts(rowid, text) VALUES (?, ?)", rows)


def _create_blocks(db: sqlite3.Connection) -> None:
    db.executescript(TEXTS)
    SqliteTexts(db).put_totals(TextTotals(1))


def _create_rows(db: sqlite3.Connection) -> None:
    db.execute(
        "CREATE TABLE postings(collection INTEGER, term TEXT, pk INTEGER, tf INTEGER, "
        "length INTEGER, PRIMARY KEY (collection, term, pk)) WITHOUT ROWID"
    )


def _create_fts(db: sqlite3.Connection) -> None:
    db.execute("CREATE VIRTUAL TABLE texts USING fts5(text, tokenize = 'ascii', columnsize = 0)")
    db.execute("CREATE VIRTUAL TABLE instances USING fts5vocab(texts, instance)")


def _read_blocks(db: sqlite3.Connection, term: str) -> int:
    return len(SqliteTexts(db).postings(1, [term])[term])


def _read_rows(db: sqlite3.Connection, term: str) -> int:
    query = "SELECT pk, tf, length FROM postings WHERE collection = 1 AND term = ?"
    return len(db.execute(query, (term,)).fetchall())


def _read_fts(db: sqlite3.Connection, term: str) -> int:
    query = "SELECT doc, count(*) FROM instances WHERE term = ? GROUP BY doc"
    return len(db.execute(query, (term,)).fetchall())


Layout = tuple[Callable[[sqlite3.Connection], None], Write, Read]
LAYOUTS: dict[str, Layout] = {
    "blocks": (_create_blocks, _write_blocks, _read_blocks),
    "rows": (_create_rows, _write_rows, _read_rows),
    "FTS5": (_create_fts, _write_fts, _read_fts),
}


def _layout(layout: Layout, texts: Sequence[str], questions: Sequence[str]) -> str:
    create, write, read = layout
    with TemporaryDirectory() as folder:
        path = Path(folder) / "texts.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            create(db)
            split = [text.split() for text in texts]
            began = time.perf_counter()
            for start in range(0, len(texts), BATCH):
                some = split[start : start + BATCH]
                db.execute("BEGIN")
                write(db, range(start + 1, start + 1 + len(some)), some)
                db.execute("COMMIT")
            written_s = time.perf_counter() - began
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            began = time.perf_counter()
            for question in questions:
                for term in set(terms_of(question)):
                    read(db, term)
            read_ms = 1000 * (time.perf_counter() - began) / len(questions)
        size = path.stat().st_size / len(texts)
    return f"{len(texts) / written_s:>10,.0f} texts/s{size:>8,.0f} B/text{read_ms:>8.2f} ms"


def _index(
    texts: Sequence[str | None],
    sparse: Sequence[SparseVector | None],
    questions: Sequence[str],
    weights: Sequence[SparseVector],
    url: str | None,
) -> str:
    vectors = np.random.default_rng(0).standard_normal((len(texts), WIDTH)).astype(np.float32)
    with TemporaryDirectory() as folder:
        settings = IndexSettings.model_validate({"directory": folder, "url": url})
        with closing(VectorIndex(settings, background=False)) as index:
            rates = []
            for start, stop, batch in (
                (0, len(texts) - 500, BATCH),
                (len(texts) - 500, len(texts), 1),
            ):
                began = time.perf_counter()
                for at in range(start, stop, batch):
                    ids = [str(one) for one in range(at, min(at + batch, stop))]
                    rows = slice(at, at + len(ids))
                    plain: list[dict[str, object]] = [{}] * len(ids)
                    points = Points(ids, vectors[rows], texts[rows], plain, sparse=sparse[rows])
                    index.upsert("c", points)
                rates.append((stop - start) / (time.perf_counter() - began))
            asked = [[Query("c", row, 10)] for row in vectors[:50]]
            dense = _median(partial(index.search, one) for one in asked)
            words = _median(
                partial(index.search_text, [TextQuery("c", one, 10)]) for one in questions
            )
            by_weights = _median(
                partial(index.search_sparse, [SparseQuery("c", one, 10)]) for one in weights
            )
            index.delete("c")
    shown = f"{rates[0]:>10,.0f} points/s of {BATCH}{rates[1]:>8,.0f} of one"
    by_words = f"{words:>8.2f} ms by words{by_weights:>8.2f} ms by weights"
    return f"{shown}{dense:>8.2f} ms by vector{by_words}"


def _median(calls: Iterable[Callable[[], object]]) -> float:
    took = []
    for call in calls:
        began = time.perf_counter()
        call()
        took.append(1000 * (time.perf_counter() - began))
    return float(np.median(took))


if __name__ == "__main__":
    sys.exit(main())
