"""A document's chunks replace its earlier ones in one write, and are deleted together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedder.core.errors import InvalidInput
from embedder.index.contract.documents import chunk_id
from embedder.index.contract.points import Points, Query
from embedder.index.vector_index import VectorIndex
from tests.unit.index.hostile_strings import HOSTILE_IDS
from tests.unit.index.small_index import small_settings

pytestmark = pytest.mark.every_store


@pytest.fixture
def index() -> Iterator[VectorIndex]:
    with closing(VectorIndex(small_settings(), background=False)) as index:
        yield index


def put(index: VectorIndex, chunks: dict[str, int]) -> int:
    """Store documents of so many chunks."""
    places = [(one, number) for one, count in chunks.items() for number in range(count)]
    ids = [chunk_id(*place) for place in places]
    metadata = [{"chunk": {"document": one, "number": number}} for one, number in places]
    return index.upsert("c", Points(ids, _rows(len(ids)), ids, metadata, list(chunks)))


def put_plain(index: VectorIndex, *ids: str) -> None:
    """Store points that are no chunks."""
    index.upsert("c", Points(ids, _rows(len(ids)), ids, [{}] * len(ids)))


def ids_of(index: VectorIndex) -> set[str]:
    """Return the ids of all points, which every kind of read agrees on."""
    stored = [one.id for one in index.scroll("c", None, 1000).records]
    (found,) = index.search([Query("c", np.ones(2, np.float32), 1000)])

    assert sorted(hit.id for hit in found) == sorted(stored)
    assert index.describe("c").count == len(stored)
    return set(stored)


def _rows(count: int) -> Any:
    return np.array([[at + 1, 1] for at in range(count)], np.float32)


def test_a_shorter_text_leaves_no_chunk_of_the_longer_one(index: VectorIndex) -> None:
    put(index, {"doc": 40, "other": 2})
    put(index, {"doc": 3})

    assert ids_of(index) == {"doc#0", "doc#1", "doc#2", "other#0", "other#1"}


def test_the_point_of_the_document_itself_is_replaced_and_no_other(index: VectorIndex) -> None:
    put_plain(index, "doc", "doc#", "doc#note", "doc#7", "doc$", "do", "docs#0", "DOC#0")
    put(index, {"doc": 2})

    kept = {"doc#", "doc#note", "doc#7", "doc$", "do", "docs#0", "DOC#0"}
    assert ids_of(index) == kept | {"doc#0", "doc#1"}


def test_a_write_is_visible_as_a_whole(index: VectorIndex) -> None:
    put(index, {"doc": 5})
    before = index.describe("c").sequence
    sequence = put(index, {"doc": 2})

    assert sequence == index.describe("c").sequence > before
    again = put(index, {"doc": 2})
    assert again == index.describe("c").sequence
    assert ids_of(index) == {"doc#0", "doc#1"}


def test_replaced_chunks_stay_deleted_after_a_restart(tmp_path: Path) -> None:
    with closing(VectorIndex(small_settings(tmp_path), background=False)) as index:
        put(index, {"doc": 40})
        put(index, {"doc": 1})
        index.run_maintenance()
    with closing(VectorIndex(small_settings(tmp_path), background=False)) as index:
        assert ids_of(index) == {"doc#0"}


def test_documents_are_deleted_with_their_points(index: VectorIndex) -> None:
    put(index, {"doc": 3, "other": 1})
    put_plain(index, "doc#note", "plain")
    deleted = index.delete_documents("c", ["doc", "gone", "plain", "doc"])

    assert deleted.count == 4
    assert ids_of(index) == {"other#0", "doc#note"}
    assert index.delete_documents("c", ["doc"]).count == 0


def test_a_document_id_that_no_point_can_have_is_refused(index: VectorIndex) -> None:
    put(index, {"doc": 1})
    with pytest.raises(InvalidInput, match=r"'documents\[1\]' must not be empty"):
        index.delete_documents("c", ["doc", ""])


DOCUMENTS = st.sampled_from([one for one in HOSTILE_IDS if len(one.encode()) < 240])
STEPS = st.lists(st.dictionaries(DOCUMENTS, st.integers(1, 3), min_size=1, max_size=3), max_size=4)


@given(STEPS, st.lists(DOCUMENTS, max_size=3))
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_ids_have_the_chunks_of_their_last_write(
    steps: list[dict[str, int]], gone: list[str]
) -> None:
    with closing(VectorIndex(small_settings(), background=False)) as index:
        expected: dict[str, int] = {}
        put(index, {"first": 1})
        for step in steps:
            put(index, step)
            expected.update(step)
        index.delete_documents("c", ["first", *gone])
        chunks = {
            chunk_id(name, number)
            for name, count in expected.items()
            for number in range(count)
            if name not in gone
        }

        assert ids_of(index) == chunks
