"""The composed graph answers and fails like the library."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from deployments.rpc.handle_client import Handle
from embedder import EmbedderSettings, EmbeddingGenerator, EmbedOptions, Priority
from embedder.chunking.request import ChunkOptions
from embedder.core.errors import InvalidInput, LimitExceeded
from embedder.settings.model import BatchSettings
from tests.graph.running import run_graph

TEXTS = ["hello world", "A longer text about embeddings.", "hello world", "naïve café 🙂"]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Handle:
    """Return the handle of a graph whose stages all live in this process."""
    keys = tmp_path_factory.mktemp("graph") / "keys.yaml"
    keys.write_text("[]")
    keys.chmod(0o600)
    args = {
        "keys_file": str(keys),
        "model": {"offline": True, "matryoshka": [16]},
        "batching": {"autotune_s": 0},
        # On a busy machine the measured rate may be so low that 64 calls would wait for seconds.
        "limits": {"max_inputs": 8, "max_wait_s": 60.0},
        "data_directory": None,
    }
    return run_graph("graph", args)


def test_the_graph_gives_the_vectors_of_the_library(graph: Handle) -> None:
    vectors = graph.embed.remote(TEXTS).result()
    settings = EmbedderSettings(batching=BatchSettings(autotune_s=0))
    with EmbeddingGenerator(settings=settings) as generator:
        expected = generator.embed(TEXTS)

    assert vectors.shape == (4, 384)
    assert (vectors * expected).sum(axis=1).min() > 0.9999


def test_one_text_is_one_row(graph: Handle) -> None:
    assert graph.embed.remote("hello world").result().shape == (1, 384)


def test_an_ingress_reads_its_keys_again_and_asks_its_handle_for_none(graph: Handle) -> None:
    assert graph.embed.remote("without a key").result().shape == (1, 384)
    assert "keys-file" in {thread.name for thread in threading.enumerate()}


def test_token_ids_are_the_same_input_as_their_text(graph: Handle) -> None:
    vectors = graph.embed.remote([[101, 7592, 2088, 102], "hello world"]).result()

    assert float(vectors[0] @ vectors[1]) > 0.9999


def test_options_travel_with_the_call(graph: Handle) -> None:
    options = EmbedOptions(dimensions=16, normalize=False, priority=Priority.BULK)
    cut = graph.embed.remote("hello world", options).result()
    whole = graph.embed.remote("hello world", EmbedOptions(normalize=False)).result()

    assert np.array_equal(cut[0], whole[0, :16])


def test_an_answer_from_the_cache_has_the_same_bytes(graph: Handle) -> None:
    first = graph.embed.remote("asked for twice").result()
    second = graph.embed.remote("asked for twice").result()

    assert first.tobytes() == second.tobytes()


def test_concurrent_calls_get_their_own_answers(graph: Handle) -> None:
    texts = [f"text number {number}" for number in range(64)]
    calls = [graph.embed.remote(text) for text in texts]
    vectors = np.concatenate([call.result() for call in calls])
    again = np.concatenate(
        [graph.embed.remote(texts[at : at + 8]).result() for at in range(0, 64, 8)]
    )

    assert (vectors * again).sum(axis=1).min() > 0.9999
    assert len(np.unique(vectors, axis=0)) == 64


def test_chunks_and_their_vectors_are_those_of_the_library(graph: Handle) -> None:
    texts = ["The letter is Anna's. It came in May. " * 5, TEXTS[-1]]
    chunking = ChunkOptions(size=24, overlap=8, boundaries="sentences")
    found = graph.embed_chunks.remote(texts, chunking).result()
    settings = EmbedderSettings(batching=BatchSettings(autotune_s=0))
    with EmbeddingGenerator(settings=settings) as generator:
        expected = generator.embed_chunks(texts, size=24, overlap=8, boundaries="sentences")

    assert [one.chunks for one in found] == [one.chunks for one in expected]
    assert len(found[0].chunks) > 3
    for one, other in zip(found, expected, strict=True):
        assert (one.vectors * other.vectors).sum(axis=1).min() > 0.999


def test_late_chunks_are_those_of_the_library(graph: Handle) -> None:
    texts = ["The letter is Anna's. It came in May. " * 60, TEXTS[-1]]
    chunking = ChunkOptions(size=200, overlap=8, late=True)
    found = graph.embed_chunks.remote(texts, chunking).result()
    (alone,) = graph.embed_chunks.remote(texts[:1], chunking).result()
    settings = EmbedderSettings(batching=BatchSettings(autotune_s=0))
    with EmbeddingGenerator(settings=settings) as generator:
        expected = generator.embed_chunks(texts, size=200, overlap=8, late=True)

    assert [one.chunks for one in found] == [one.chunks for one in expected]
    assert len(found[0].chunks) > 3
    np.testing.assert_allclose(alone.vectors, found[0].vectors, atol=1e-5)
    for one, other in zip(found, expected, strict=True):
        assert (one.vectors * other.vectors).sum(axis=1).min() > 0.999


def test_the_limits_of_chunks_name_the_text(graph: Handle) -> None:
    with pytest.raises(LimitExceeded, match=r"'input\[1\]' has 9 or more chunks, .* is 8"):
        graph.embed_chunks.remote(
            ["a", "a b c d e f g h i j k l " * 9], ChunkOptions(8, 7)
        ).result()
    with pytest.raises(InvalidInput, match=r"'chunking.size' is 7"):
        graph.embed_chunks.remote("a", ChunkOptions(7, 0)).result()


def test_an_error_is_that_of_the_library(graph: Handle) -> None:
    with pytest.raises(InvalidInput) as caught:
        graph.embed.remote(["a", ""]).result()
    assert caught.value.field == "input[1]"


def test_the_limits_of_the_settings_hold(graph: Handle) -> None:
    with pytest.raises(LimitExceeded) as caught:
        graph.embed.remote(["a"] * 9).result()
    assert (caught.value.size, caught.value.limit) == (9, 8)
