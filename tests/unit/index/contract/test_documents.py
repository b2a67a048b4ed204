"""The ids of chunks, and which documents can be stored as chunks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.core.errors import InvalidInput, LimitExceeded
from embedder.index.contract.documents import (
    MAX_DOCUMENT_ID_BYTES,
    check_documents,
    chunk_id,
    chunk_ids,
    document_of,
)
from embedder.index.contract.limits import MAX_ID_BYTES
from tests.unit.index.hostile_strings import ANY_TEXT, IDS


@given(IDS, st.integers(0, 10**14 - 1), ANY_TEXT)
def test_the_ids_of_a_document_begin_alike_and_lie_between_its_bounds(
    document: str, number: int, other: str
) -> None:
    low, high = (bound.encode() for bound in chunk_ids(document))

    assert low <= chunk_id(document, number).encode() < high
    assert (low <= other.encode() < high) == other.startswith(f"{document}#")


@given(IDS, IDS, st.integers(0, 3), st.integers(0, 3))
def test_chunks_of_different_documents_have_different_ids(
    one: str, other: str, first: int, second: int
) -> None:
    same = chunk_id(one, first) == chunk_id(other, second)

    assert same == ((one, first) == (other, second))


@pytest.mark.parametrize(
    ("metadata", "document"),
    [
        ({"chunk": {"document": "a", "number": 0}}, "a"),
        ({"chunk": {"document": 1}}, None),
        ({"chunk": {}}, None),
        ({"chunk": ["document"]}, None),
        ({"chunk": "a"}, None),
        ({"document": "a"}, None),
        ({}, None),
    ],
)
def test_only_a_chunk_has_a_document(metadata: dict[str, Any], document: str | None) -> None:
    assert document_of(metadata) == document


def test_the_longest_id_leaves_room_for_the_numbers_of_its_chunks() -> None:
    longest = "ü" * (MAX_DOCUMENT_ID_BYTES // 2)
    check_documents([longest], [{}])

    assert len(chunk_id(longest, 10**14 - 1).encode()) == MAX_ID_BYTES
    with pytest.raises(LimitExceeded) as refused:
        check_documents(["a", f"{longest}a"], [{}, {}])
    assert refused.value.args[0] == "points[1].id"
    assert refused.value.args[2:] == (MAX_DOCUMENT_ID_BYTES + 1, MAX_DOCUMENT_ID_BYTES)


@pytest.mark.parametrize(
    ("ids", "metadata", "field"),
    [
        (["a", ""], [{}, {}], "points[1].id"),
        (["a", "\ud83d"], [{}, {}], "points[1].id"),
        (["a", "a"], [{}, {}], "points[1].id"),
        (["a", "b"], [{"n": 1}, {"chunk": None}], "points[1].metadata"),
    ],
)
def test_a_document_that_cannot_be_stored_is_refused(
    ids: list[str], metadata: list[dict[str, Any]], field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_documents(ids, metadata)

    assert refused.value.field == field
