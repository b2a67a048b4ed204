"""The benchmark of retrieval has an independent BM25, and tells noise from a difference."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from benchmarks.retrieval import independent, interval, recall, table
from embedder.index.contract.points import Points
from embedder.index.contract.texts import TextQuery
from embedder.index.vector_index import VectorIndex

CORPUS = {
    "a": "The lift of a wing in supersonic flow",
    "b": "Heat flow in a plate, and the heat of a shock",
    "c": "A wing, a wing and a plate",
    "d": "Nothing of the kind",
}
QUESTIONS = {"1": "wing flow", "2": "heat of the plate", "3": "a kind plate"}


def test_the_index_ranks_as_bm25s() -> None:
    with closing(VectorIndex(background=False)) as index:
        vectors = np.ones((len(CORPUS), 2), np.float32)
        points = Points(list(CORPUS), vectors, list(CORPUS.values()), [{} for _ in CORPUS])
        index.upsert("c", points)
        found = index.search_text([TextQuery("c", text, 9) for text in QUESTIONS.values()])

    for hits, ranked in zip(found, independent(CORPUS, QUESTIONS), strict=True):
        assert [hit.id for hit in hits] == ranked[: len(hits)]


def test_the_recall_is_the_share_of_the_relevant_documents() -> None:
    relevance = {"a": 1.0, "b": 2.0, "c": 0.0}

    assert recall(["b", "c", "x"], relevance) == 0.5
    assert recall(["a"], {}) == 0.0


def test_the_interval_holds_the_mean_and_is_the_same_each_time() -> None:
    differences = np.random.default_rng(1).normal(0.1, 0.5, 200)
    low, high = interval(differences)

    assert low < differences.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(200), rel=0.2)
    assert interval(differences) == (low, high)
    assert interval(np.zeros(9)) == (0.0, 0.0)


def test_the_table_names_the_differences_to_dense_search() -> None:
    figures = {"dense": np.array([0.5, 0.7]), "lexical": np.array([0.4, 0.6])}
    lines = table(figures, figures).splitlines()

    assert len(lines) == 3
    assert "0.6000" in lines[1]
    assert "-0.1000 (-0.1000 to -0.1000)" in lines[2]
