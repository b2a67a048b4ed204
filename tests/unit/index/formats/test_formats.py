"""Every stored example opens with all its points, is searched and checked, and takes writes."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from deployments.cli import main
from embedder.core.errors import Unavailable
from embedder.core.storage_errors import StaleCollection
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.points import Points, Query, Spec
from embedder.index.contract.sparse import SparseVector
from embedder.index.contract.sparse_queries import SparseQuery
from embedder.index.contract.texts import TextQuery
from embedder.index.lexical.analyzer import terms_of
from embedder.index.vector_index import VectorIndex
from embedder.settings.model import IndexSettings
from tests.unit.index.formats.content import (
    DOCS,
    GONE,
    KINDS,
    MODEL,
    OTHER_MODEL,
    STAGED,
    STAGED_ID,
    WEIGHTED,
    WEIGHTS,
    docs,
    settings_of,
    vectors,
)
from tests.unit.index.formats.writing import DATABASE, FILES, FOLDER, SHARD
from tests.unit.index.small_index import ALL_FIELDS
from tests.unit.index.sparse.sparse_oracle import best
from tests.unit.index.storage.postgres.postgres_server import running_server
from tests.unit.waiting import eventually

EXAMPLES = sorted([*FOLDER.glob("sqlite-*.tar.xz"), *FOLDER.glob("postgres-*.sql")])


class Example:
    """A stored example: how commands name it, and how a service opens it."""

    def __init__(self, path: Path, folder: Path) -> None:
        if path.suffix == ".sql":
            self.store = running_server().create_database()
            self.settings, self.kinds = settings_of(None, self.store), ["flat"]
            _execute(self.store, path.read_text())
        else:
            with tarfile.open(path) as archive:
                archive.extractall(folder, filter="data")
            self.store, self.kinds = str(folder), list(KINDS)
            self.settings = settings_of(str(folder / "index" / SHARD))

    def open(self) -> VectorIndex:
        """Open it as a service does."""
        return VectorIndex(self.settings, SHARD, background=False)


def _execute(url: str, statements: str) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as db:
        db.pgconn.exec_(statements.encode())
        assert db.pgconn.error_message == b""


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.name)
def example(request: pytest.FixtureRequest, tmp_path: Path) -> Example:
    """Return a copy of each example."""
    return Example(request.param, tmp_path)


@pytest.fixture
def index(example: Example) -> Iterator[VectorIndex]:
    """Yield the open example."""
    with closing(example.open()) as index:
        yield index


def test_there_are_examples_of_the_present_versions() -> None:
    assert {FILES, DATABASE} <= {path.name for path in EXAMPLES}


def test_all_points_are_there_in_the_order_of_insertion(index: VectorIndex) -> None:
    found = index.scroll(DOCS, limit=1000, include=ALL_FIELDS).records
    info = index.describe(DOCS)

    assert [one.id for one in found] == list(docs())
    for one in found:
        assert one.vector is not None
        assert (one.text, one.metadata, one.vector.tolist()) == docs()[one.id]
    assert (info.identity, info.stored) == ("docs-identity", MODEL)


def test_every_kind_is_served_and_searched(example: Example, index: VectorIndex) -> None:
    for seed, (name, (kind, metric, count)) in enumerate(KINDS.items(), 3):
        if name not in example.kinds:
            continue
        info, rows = index.describe(name), vectors(count, seed)
        queries = [Query(name, row, 1) for row in rows[:20]]
        hits = index.search(queries)

        assert (info.kind, info.metric, info.count) == (kind.value, metric, count)
        if metric.is_distance:
            assert [hit.id for (hit,) in hits] == [f"{name}-{number}" for number in range(20)]
            assert [hit.score for (hit,) in hits] == [0.0] * 20
    (found,) = index.search([Query(DOCS, vectors(20, 1)[7], 3, filter=parse({"n": 7}))])
    assert [hit.id for hit in found] == ["d7"]


def test_texts_are_found_by_their_words(index: VectorIndex) -> None:
    text = next(text for text, _, _ in docs().values() if text and terms_of(text))
    expected = {name for name, (one, _, _) in docs().items() if one == text}

    def found() -> set[str]:
        try:
            (hits,) = index.search_text([TextQuery(DOCS, text, 1000)])
        except Unavailable:  # an example of an earlier version
            return set()
        return {hit.id for hit in hits}

    assert eventually(lambda: expected <= found())


def test_sparse_vectors_are_found_or_were_never_stored(index: VectorIndex) -> None:
    query = {1: 1.0, 9: 2.0}
    if WEIGHTED not in [info.name for info in index.collections()]:
        answer = index.search_sparse([SparseQuery(DOCS, SparseVector.of(query), 9)])
        assert (answer.hits, answer.weighted) == ([[]], 0)
        return
    answer = index.search_sparse([SparseQuery(WEIGHTED, SparseVector.of(query), 9)])

    assert [(hit.id, hit.score) for hit in answer.hits[0]] == best(WEIGHTS, query)
    assert answer.weighted == sum(one is not None for one in WEIGHTS.values())


def test_no_snapshot_is_damaged(example: Example, index: VectorIndex) -> None:
    stats = index.stats()

    assert stats.damaged_snapshots == 0
    if example.settings.url is None:
        assert stats.recovery.points_from_store == 0
        for name in example.kinds:
            assert index.describe(name).serving == KINDS[name][0].value


def test_a_staged_and_a_deleted_collection_are_remembered(index: VectorIndex) -> None:
    staged = index.staged(DOCS)
    texts = sum(text is not None for text, _, _ in docs().values())

    assert staged is not None
    assert (staged.identity, staged.stored) == (STAGED_ID, OTHER_MODEL)
    assert len(index.outdated(DOCS, STAGED_ID, 0)) == texts - STAGED
    with pytest.raises(StaleCollection):
        index.create("gone", Spec(identity=GONE))


def test_it_is_checked_and_copied(
    example: Example, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", "check", example.store]) == 0
    checked = capsys.readouterr().out
    target = str(tmp_path / "copy")
    assert main(["index", "copy", example.store, target]) == 0
    copied = IndexSettings(directory=str(tmp_path / "copy" / "index" / SHARD))
    with closing(VectorIndex(copied, background=False)) as index:
        found = index.scroll(DOCS, limit=1000, include=ALL_FIELDS).records
        test_sparse_vectors_are_found_or_were_never_stored(index)

    assert f"{SHARD}: {DOCS}: {len(docs())} points, intact" in checked
    assert f"{SHARD}: .{DOCS}: {STAGED} points, intact" in checked
    assert [one.id for one in found] == list(docs())


def test_it_takes_writes_and_opens_again(example: Example) -> None:
    new = Points(["new"], np.ones((1, 8), np.float32), ["text"], [{}])
    with closing(example.open()) as index:
        index.upsert(DOCS, new)
        index.delete_points(DOCS, ["d0"])
    with closing(example.open()) as index:
        records = index.scroll(DOCS, limit=1000).records

    assert [one.id for one in records] == [*list(docs())[1:], "new"]
