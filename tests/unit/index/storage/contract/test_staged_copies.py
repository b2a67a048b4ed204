"""Staged copies: which points lack one, what a copy holds, and which copies are found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from embedder.index.contract.points import Payload, Spec
from embedder.index.contract.response_budget import ResponseBudget
from embedder.index.storage.protocol import Store
from embedder.index.storage.reader import Snapshot
from embedder.index.storage.records import CollectionRow, OutdatedPoint
from tests.unit.index.storage.contract.stores import commit, rows_of

NEW = np.array([[1, 2, 3]], np.float32)


def _row(rows: Snapshot, name: str) -> CollectionRow:
    row = rows.find_collection(name)
    assert row is not None
    return row


@dataclass(frozen=True)
class Staging:
    """A collection ``c`` and its staged collection ``.c`` in a store."""

    store: Store

    def put(self, texts: dict[str, str | None]) -> None:
        """Store points with these texts."""
        chunk = rows_of(list(texts), None, list(texts.values()), [{"n": 1}] * len(texts))
        commit(self.store, lambda rows: rows.upsert(_row(rows, "c"), chunk))

    def outdated(self, after: int = 0) -> list[OutdatedPoint]:
        """Return a page of the points without a current copy."""
        with self.store.reader.snapshot() as rows:
            return rows.outdated(_row(rows, "c").id, _row(rows, ".c").id, after)

    def fill(self, points: list[OutdatedPoint], *, skip_outdated: bool = False) -> None:
        """Store copies of points, all with the same vector."""
        vectors = np.repeat(NEW, len(points), axis=0)
        commit(
            self.store,
            lambda rows: rows.fill_staged(
                _row(rows, "c"),
                _row(rows, ".c"),
                points,
                vectors,
                [None] * len(points),
                skip_outdated=skip_outdated,
            ),
        )

    def copies(self) -> list[Payload]:
        """Return all copies in the order of their insertion."""
        with self.store.reader.snapshot() as rows:
            staged = _row(rows, ".c").id
        budget = ResponseBudget(("text", "metadata"))
        return self.store.reader.page(staged, 0, 1000, None, budget)[0]


@pytest.fixture
def staging(store: Store) -> Staging:
    commit(store, lambda rows: rows.insert_collection("c", Spec()))
    commit(store, lambda rows: rows.insert_collection(".c", Spec(width=3)))
    return Staging(store)


def test_copies_have_the_content_of_their_points_and_the_new_vectors(staging: Staging) -> None:
    staging.put({"a": "one", "b": None, "c\0": "two"})
    points = staging.outdated()
    staging.fill(points)
    copies = staging.copies()
    with staging.store.reader.snapshot() as rows:
        row, without = _row(rows, ".c"), rows.count_without_text(_row(rows, "c").id)
    pks = np.array([one.pk for one in copies])
    pairs, ids, vectors = staging.store.reader.vectors(row.id, pks, 3)

    assert [(one.id, one.text) for one in points] == [("a", "one"), ("c\0", "two")]
    assert [(one.id, one.text, one.seq) for one in copies] == [("a", "one", 1), ("c\0", "two", 1)]
    assert {one.metadata for one in copies} == {'{"n":1}'}
    assert (pairs[:, 1].tolist(), ids) == ([1, 1], ["a", "c\0"])
    assert vectors.tolist() == NEW.tolist() * 2
    assert (row.count, without) == (2, 1)
    assert staging.outdated() == []


def test_points_that_changed_since_they_were_read_stay_outdated_or_are_skipped(
    staging: Staging,
) -> None:
    staging.put({"a": "old", "b": "old", "c": "old", "d": "old"})
    points = staging.outdated()
    staging.put({"a": "new", "b": None})
    commit(
        staging.store,
        lambda rows: rows.delete(_row(rows, "c"), rows.find_pks(_row(rows, "c").id, ["c"])),
    )
    staging.fill(points, skip_outdated=True)
    skipped = [one.id for one in staging.copies()]
    staging.fill(points)

    assert skipped == ["d"]
    assert [(one.id, one.text, one.seq) for one in staging.copies()] == [
        ("d", "old", 1),
        ("a", "new", 1),
    ]
    assert [(one.id, one.seq, one.text) for one in staging.outdated()] == [("a", 2, "new")]
    staging.fill(staging.outdated())
    assert staging.outdated() == []
    assert len(staging.copies()) == 2


def test_a_page_of_outdated_points_begins_above_its_position(staging: Staging) -> None:
    staging.put({name: "text" for name in "abcd"})
    points = staging.outdated()

    assert [one.pk for one in points] == sorted(one.pk for one in points)
    assert staging.outdated(points[1].pk) == points[2:]
    assert staging.outdated(points[-1].pk) == []


def test_the_copies_of_points_are_found(staging: Staging) -> None:
    staging.put({"a": "text", "b": "text", "c": "text"})
    staging.fill(staging.outdated())
    staging.put({"b": None, "d": "text"})
    pk = {one.id: one.pk for one in staging.copies()}
    with staging.store.reader.snapshot() as rows:
        source, staged = _row(rows, "c").id, _row(rows, ".c").id
    chosen, textless = commit(
        staging.store,
        lambda rows: (
            rows.copies(source, staged, rows.find_pks(source, ["a", "d"])),
            rows.copies_without_text(source, staged),
        ),
    )

    assert (chosen, textless) == ([pk["a"]], [pk["b"]])
