"""The digest of points changes with every field, and with nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.index.contract.sparse import SparseVector
from embedder.index.offline.points_digest import PointsDigest
from tests.unit.index.storage.contract.stores import rows_of


def _digest(*points: tuple[str, str | None, dict[str, Any], list[float]]) -> tuple[int, int]:
    digest = PointsDigest()
    for name, text, metadata, vector in points:
        digest.add(rows_of([name], np.array([vector], np.float32), [text], [metadata]))
    return digest.count, digest.total


POINT = ("id", "text", {"n": 1}, [1.0, 2.0])


@pytest.mark.parametrize(
    "other",
    [
        ("id2", "text", {"n": 1}, [1.0, 2.0]),
        ("id", "text2", {"n": 1}, [1.0, 2.0]),
        ("id", None, {"n": 1}, [1.0, 2.0]),
        ("id", "", {"n": 1}, [1.0, 2.0]),
        ("id", "text", {}, [1.0, 2.0]),
        ("id", "text", {"n": 1}, [2.0, 1.0]),
        ("id", "text", {"n": 1}, [1.0, 2.0, 0.0]),
        ("idt", "ext", {"n": 1}, [1.0, 2.0]),
        ("id\0", "text", {"n": 1}, [1.0, 2.0]),
    ],
)
def test_a_change_of_any_field_changes_the_digest(
    other: tuple[str, str | None, dict[str, Any], list[float]],
) -> None:
    assert _digest(POINT) != _digest(other)
    assert len(str(PointsDigest(1, 5))) == 32


def _with_weights(weights: dict[int, float] | None, vector: Sequence[float] = (1, 2)) -> int:
    sparse = None if weights is None else SparseVector.of(weights)
    digest = PointsDigest()
    digest.add(rows_of(["id"], np.array([vector], np.float32), sparse=[sparse]))
    return digest.total


def test_sparse_vectors_change_the_digest_and_points_without_one_keep_theirs() -> None:
    given = [None, {}, {1: 1.0}, {2: 1.0}, {1: 2.0}, {1: 1.0, 2: 1.0}]
    assert len({_with_weights(one) for one in given}) == len(given)
    assert _with_weights(None) == _digest(("id", None, {}, [1.0, 2.0]))[1]
    # The bytes of a vector could be those of an id and a weight.
    longer = SparseVector.of({1: 1.0}).encoded()
    assert _with_weights({1: 1.0}) != _with_weights({}, [1, 2, *np.frombuffer(longer, "<f4")])


def test_a_point_that_is_there_twice_changes_the_digest() -> None:
    assert _digest(POINT, POINT) != _digest()
    assert _digest(POINT, POINT) != _digest(POINT)


@given(
    st.lists(st.text(max_size=3), unique=True, min_size=1, max_size=8),
    st.randoms(),
    st.integers(1, 4),
)
def test_order_and_chunks_change_nothing(ids: list[str], chance: Any, size: int) -> None:
    rows = rows_of(ids, np.arange(2 * len(ids), dtype=np.float32).reshape(-1, 2))
    whole, parts = PointsDigest(), PointsDigest()
    whole.add(rows)
    order = list(range(len(ids)))
    chance.shuffle(order)
    for start in range(0, len(order), size):
        parts.add(rows.select(order[start : start + size]))

    assert parts == whole
