"""A graph searches a collection and reranks its hits as the library does with the same models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployments.data import index_directory
from deployments.rpc.handle_client import Handle
from deployments.settings.service import ServeSettings
from embedder import EmbedderSettings, EmbeddingGenerator
from embedder.core.errors import InvalidInput
from embedder.index.contract.points import Points
from embedder.index.contract.sparse import SparseVector
from embedder.index.contract.texts import TextQuery
from embedder.index.vector_index import VectorIndex
from embedder.settings.model import IndexSettings
from tests.graph.running import run_graph
from tests.tiny_cross_encoders import write_cross_encoder
from tests.tiny_models import write_tiny_bert
from tests.tiny_retrieval_models import write_bge_m3, write_multi_vector

EXACT: dict[str, Any] = {"backend": {"dtype": "float32"}, "batching": {"autotune_s": 0}}
TEXTS = [
    "a cold wing",
    "the wing of a bird",
    "é 漢字 wing",
    "hot air " * 20,
    "cold cold water",
    "x",
]
QUERY = "cold wing"
SHARD = "VectorIndex-0"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Return the directories of a model that embeds, a cross-encoder and one of token vectors."""
    root = tmp_path_factory.mktemp("models")
    dense, reader, matcher = root / "dense", root / "reader", root / "matcher"
    for folder in (dense, reader, matcher):
        folder.mkdir()
    return write_tiny_bert(dense), write_cross_encoder(reader), write_multi_vector(matcher)


@pytest.fixture(scope="module")
def dense(models: tuple[Path, Path, Path]) -> Iterator[EmbeddingGenerator]:
    with EmbeddingGenerator(str(models[0]), settings=_settings()) as generator:
        yield generator


@pytest.fixture(scope="module")
def graph(
    models: tuple[Path, Path, Path],
    dense: EmbeddingGenerator,
    tmp_path_factory: pytest.TempPathFactory,
) -> Handle:
    """Return the handle of a graph with the texts in the collection ``docs``."""
    args = {
        **EXACT,
        "model": {"name": str(models[0])},
        "further_models": [{"name": str(one)} for one in models[1:]],
        "limits": {"max_wait_s": 60.0},
        "data_directory": str(tmp_path_factory.mktemp("data")),
    }
    folder = index_directory(ServeSettings.model_validate(args))
    with _filled(dense, str(folder and folder / SHARD)):
        pass
    return run_graph("search", args)


@contextmanager
def _filled(dense: EmbeddingGenerator, folder: str | None = None) -> Iterator[VectorIndex]:
    """Yield an index with the texts in the collection ``docs``, and close it."""
    index = VectorIndex(IndexSettings(directory=folder), SHARD)
    ids = [f"p{row}" for row in range(len(TEXTS))]
    index.upsert("docs", Points(ids, dense.embed(TEXTS), TEXTS, [{} for _ in TEXTS]))
    yield index
    index.close()


def _settings() -> EmbedderSettings:
    return EmbedderSettings.model_validate(EXACT)


def _search(graph: Handle, **body: Any) -> dict[str, dict[str, Any]]:
    body = {"text": QUERY, "include": ["scores"], **body}
    hits = json.loads(graph.search.remote("docs", body).result())["results"]
    return {hit["id"]: hit for hit in hits}


def test_hits_have_the_scores_of_the_library(
    graph: Handle, models: tuple[Path, Path, Path], dense: EmbeddingGenerator
) -> None:
    hits = _search(graph, hybrid={}, rerank={})
    similarities = dense.embed(TEXTS) @ dense.embed([QUERY])[0]
    with EmbeddingGenerator(str(models[1]), settings=_settings()) as reader:
        ranking = reader.rerank(QUERY, TEXTS)
    with _filled(dense) as index:
        (words,) = index.search_text([TextQuery("docs", QUERY, 10)])

    assert list(hits) == [f"p{ranked.index}" for ranked in ranking]
    for rank, ranked in enumerate(ranking, 1):
        hit = hits[f"p{ranked.index}"]
        assert hit["score"] == pytest.approx(ranked.score, abs=1e-5)
        assert hit["scores"]["rerank"] == {"rank": rank, "score": hit["score"]}
        assert hit["scores"]["dense"]["score"] == pytest.approx(
            float(similarities[ranked.index]), abs=1e-5
        )
    lexical = {
        one: hit["scores"]["lexical"]["score"]
        for one, hit in hits.items()
        if hit["scores"]["lexical"]
    }
    assert lexical == pytest.approx({hit.id: hit.score for hit in words})


def test_token_vectors_order_as_the_maxsim_of_sentence_transformers(
    graph: Handle, models: tuple[Path, Path, Path]
) -> None:
    from sentence_transformers import MultiVectorEncoder

    hits = _search(graph, rerank={"method": "multi-vector"})
    model = MultiVectorEncoder(str(models[2]), device="cpu", local_files_only=True)
    (query,) = model.encode_query([QUERY], convert_to_numpy=True, show_progress_bar=False)
    texts = model.encode_document(TEXTS, convert_to_numpy=True, show_progress_bar=False)
    expected = {
        f"p{row}": float((query @ text.T).max(axis=1).sum()) for row, text in enumerate(texts)
    }

    assert list(hits) == sorted(expected, key=lambda one: -expected[one])
    assert {one: hit["score"] for one, hit in hits.items()} == pytest.approx(expected, abs=1e-4)


def test_sparse_weights_score_as_the_dot_products_of_the_library(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("weights")
    args = {
        **EXACT,
        "model": {"name": str(write_bge_m3(folder))},
        "limits": {"max_wait_s": 60.0},
        "data_directory": str(tmp_path_factory.mktemp("data")),
    }
    with EmbeddingGenerator(str(folder), settings=_settings()) as generator:
        vectors = generator.embed(TEXTS)
        rows = [SparseVector(one.ids, one.weights) for one in generator.embed_sparse(TEXTS)]
        (query,) = generator.embed_sparse([QUERY])
    index_folder = index_directory(ServeSettings.model_validate(args))
    index = VectorIndex(IndexSettings(directory=str(index_folder and index_folder / SHARD)), SHARD)
    ids = [f"p{row}" for row in range(len(TEXTS))]
    index.upsert("docs", Points(ids, vectors, TEXTS, [{} for _ in TEXTS], sparse=rows))
    index.close()

    hits = _search(
        run_graph("weights", args), hybrid={"weights": {"dense": 0, "lexical": 0, "sparse": 1}}
    )
    wanted = dict(zip(query.ids.tolist(), query.weights.tolist(), strict=True))
    expected = {
        one: sum(
            weight * wanted.get(at, 0.0) for at, weight in zip(row.ids, row.weights, strict=True)
        )
        for one, row in zip(ids, rows, strict=True)
        if wanted.keys() & set(row.ids.tolist())
    }
    scores = {one: hit["scores"]["sparse"]["score"] for one, hit in hits.items()}
    assert scores == pytest.approx(expected, rel=1e-5)
    assert len(scores) >= 4


def test_by_words_alone_nothing_is_embedded(graph: Handle) -> None:
    hits = _search(graph, hybrid={"weights": {"dense": 0}})

    assert set(hits) == {"p0", "p1", "p2", "p4"}
    assert np.isfinite([hit["score"] for hit in hits.values()]).all()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"top_k": 0}, "top_k"),
        ({"rerank": {"modal": "x"}}, "rerank.modal"),
        ({"text": None}, "text"),
    ],
)
def test_a_wrong_body_is_refused_by_its_field(graph: Handle, body: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        _search(graph, **body)

    assert caught.value.field == field
