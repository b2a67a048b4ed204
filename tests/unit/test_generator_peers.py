"""Vectors with prompts equal those of sentence-transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedder import EmbedderSettings, EmbeddingGenerator, EmbedOptions
from embedder.settings.model import BackendSettings, BatchSettings, ModelSettings
from tests.tiny_models import write_json, write_tiny_bert

peers = pytest.importorskip("sentence_transformers")

TEXTS = ["some words", "a", "other words that are many", "the end " * 12]
BOTH = {"query": "find ", "document": "keep "}
SETTINGS = EmbedderSettings(
    backend=BackendSettings(dtype="float32", device="cpu"), batching=BatchSettings(autotune_s=0)
)

Open = Callable[[Mapping[str, Any]], tuple[EmbeddingGenerator, Any]]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = write_tiny_bert(tmp_path_factory.mktemp("tiny"))
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    write_json(directory / "1_Pooling" / "config.json", pooling)
    return directory


@pytest.fixture(scope="module")
def peer(written: Path) -> Any:
    """Return the model loaded by sentence-transformers."""
    return peers.SentenceTransformer(str(written), device="cpu")


@pytest.fixture
def open_both(written: Path, peer: Any) -> Iterator[Open]:
    """Return a function that opens a model with given prompts in both libraries."""
    made: list[EmbeddingGenerator] = []

    def open_one(stated: Mapping[str, Any]) -> tuple[EmbeddingGenerator, Any]:
        write_json(written / "config_sentence_transformers.json", stated)
        settings = SETTINGS.model_copy(update={"model": ModelSettings(name=str(written))})
        made.append(EmbeddingGenerator(settings=settings))
        theirs = peers.SentenceTransformer(
            modules=list(peer),
            prompts=stated.get("prompts"),
            default_prompt_name=stated.get("default_prompt_name"),
            similarity_fn_name=stated.get("similarity_fn_name"),
            device="cpu",
        )
        return made[-1], theirs

    yield open_one
    for generator in made:
        generator.close()


@pytest.mark.parametrize(
    "stated",
    [
        {"prompts": BOTH},
        {"prompts": BOTH, "default_prompt_name": "query"},
        {"prompts": {"query": "find "}},
        {"prompts": {"query": "find "}, "default_prompt_name": "query"},
        {"prompts": {"query": "", "document": ""}},
        {"prompts": {"topic": "sort "}, "default_prompt_name": "topic"},
        {"prompts": {"query": "find ", "passage": "keep "}},
        {"prompts": {"corpus": "keep ", "passage": "hold "}, "default_prompt_name": "passage"},
        {"prompts": {"query": "find "}, "default_prompt_name": "document"},
        {},
    ],
)
def test_every_call_uses_the_same_prompt(open_both: Open, stated: Mapping[str, Any]) -> None:
    generator, peer = open_both(stated)

    for ours, theirs in (
        (generator.embed(TEXTS), peer.encode(TEXTS)),
        (generator.embed_query(TEXTS), peer.encode_query(TEXTS)),
        (generator.embed_document(TEXTS), peer.encode_document(TEXTS)),
        (
            generator.embed(TEXTS, EmbedOptions(prompt="own ")),
            peer.encode(TEXTS, prompt="own "),
        ),
        (
            generator.embed_query(TEXTS, EmbedOptions(prompt="own ")),
            peer.encode_query(TEXTS, prompt="own "),
        ),
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_named_prompt_is_the_same(open_both: Open) -> None:
    generator, peer = open_both({"prompts": {**BOTH, "topic": "sort "}})

    for name in ("query", "document", "topic"):
        ours = generator.embed(TEXTS, EmbedOptions(prompt_name=name))
        np.testing.assert_allclose(ours, peer.encode(TEXTS, prompt_name=name), atol=1e-5)


def test_similarities_are_the_same(open_both: Open) -> None:
    for metric in ("cosine", "dot", "euclidean", "manhattan"):
        generator, peer = open_both({"similarity_fn_name": metric})
        theirs = peer.similarity(peer.encode(TEXTS), peer.encode(TEXTS[:2])).numpy()

        np.testing.assert_allclose(generator.similarity(TEXTS, TEXTS[:2]), theirs, atol=1e-4)
