"""Identical rows get one node, and nodes are expanded to their rows in ascending order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.index.segments.bitmap import pack_bits
from embedder.index.segments.shared_nodes import NodeNumbering, SharedNodes, has_copies

CHOICES = st.lists(st.integers(0, 6), min_size=1, max_size=40)
DISTINCT = np.random.default_rng(0).normal(0, 1, (7, 3)).astype(np.float32)


@given(choices=CHOICES, cut=st.integers(0, 40))
def test_rows_have_the_same_node_if_they_are_identical(choices: list[int], cut: int) -> None:
    rows, numbering = DISTINCT[choices], NodeNumbering()
    (first, new), (second, newer) = numbering.add(rows[:cut]), numbering.add(rows[cut:])
    nodes, vectors = np.concatenate([first, second]), np.concatenate([new, newer])

    np.testing.assert_array_equal(vectors[nodes], rows)
    assert len(vectors) == len(set(choices))
    assert sorted(set(nodes.tolist()), key=nodes.tolist().index) == list(range(len(vectors)))


def test_nodes_without_copies_are_their_rows() -> None:
    shared = SharedNodes.of(np.array([0, 1, 1, 2], np.int64))
    assert shared is not None
    scores = np.array([[2.0, 1.0]], np.float32)
    for nodes, rows in (([0, 2], [0, 3]), ([2, 1], [3, 1]), ([0, -1], [0, -1])):
        found_scores, found = shared.expand(scores, np.array([nodes]), 2, None)
        assert found.tolist() == [rows]
        assert found_scores[0, 0] == 2.0


@given(
    choices=CHOICES,
    allowed=st.none() | st.sets(st.integers(0, 39)),
    found=st.lists(st.permutations(range(-1, 7)), min_size=1, max_size=3),
    limit=st.integers(1, 50),
)
def test_nodes_are_expanded_to_their_allowed_rows(
    choices: list[int], allowed: set[int] | None, found: list[list[int]], limit: int
) -> None:
    of_row, _ = NodeNumbering().add(DISTINCT[choices])
    shared = SharedNodes.of(of_row)
    if shared is None:
        assert len(set(choices)) == len(choices)
        return
    count = len(set(choices))
    nodes = np.array([[node if node < count else -1 for node in one] for one in found])
    scores = -np.arange(nodes.size, dtype=np.float32).reshape(nodes.shape)
    kept = range(len(choices)) if allowed is None else sorted(allowed & {*range(len(choices))})
    bits = None if allowed is None else pack_bits(np.array(kept, np.int64), len(choices))
    expanded_scores, rows = shared.expand(scores, nodes, limit, bits)

    for number, one in enumerate(nodes.tolist()):
        expected = [
            (row, float(scores[number, column]))
            for column, node in enumerate(one)
            for row in kept
            if of_row[row] == node
        ][:limit]
        expected += [(-1, -np.inf)] * (limit - len(expected))
        assert [*zip(rows[number].tolist(), expanded_scores[number].tolist(), strict=True)] == (
            expected
        )


@pytest.mark.parametrize(("copies", "found"), [(1, False), (20, True)])
def test_copies_are_found_in_a_sample_of_many_rows(copies: int, found: bool) -> None:
    rows = np.random.default_rng(1).normal(0, 1, (50_000, 2)).astype(np.float32)
    rows[::100][:copies] = 1

    assert has_copies(rows) is found
