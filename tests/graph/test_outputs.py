"""A graph gives the scores of the library, whichever stages are in the ingress."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployments.rpc.handle_client import Handle
from embedder import EmbedderSettings, EmbeddingGenerator, Pair
from embedder.core.errors import InvalidInput
from embedder.core.types import Input, Vectors
from tests.graph.running import run_graph
from tests.tiny_cross_encoders import write_cross_encoder

EXACT: dict[str, Any] = {"backend": {"dtype": "float32"}, "batching": {"autotune_s": 0}}
PLACEMENTS = ("colocated", "remote")

PAIRS = [Pair("what is it", text) for text in ("a cat", "b " * 60, "a cat", "é 漢字")]
INPUTS: list[Input] = [*PAIRS, "one text", Pair("x", "y"), [1, 5, 2]]


def _run(name: str, directory: Path, placement: str) -> Handle:
    """Return the handle of a graph that serves a model, all in this process."""
    args = {
        **EXACT,
        "model": {"name": str(directory), "pinned": True},
        "encoder": {"placement": placement},
        "tokenizer": {"placement": placement},
        "limits": {"max_wait_s": 60.0},
        "data_directory": None,
    }
    return run_graph(name, args)


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a cross-encoder with three labels."""
    directory = tmp_path_factory.mktemp("cross-encoder")
    return write_cross_encoder(directory, labels=("no", "yes", "perhaps"))


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_scores_of_pairs_are_those_of_the_library(cross_encoder: Path, placement: str) -> None:
    graph = _run(f"scores-{placement}", cross_encoder, placement)
    with EmbeddingGenerator(
        str(cross_encoder), settings=EmbedderSettings.model_validate(EXACT)
    ) as generator:
        expected = generator.classify(INPUTS)
        raw = generator.classify(INPUTS, raw_scores=True)
        reversed_pair = generator.classify([Pair("y", "x")])

    assert _scores(graph).shape == (7, 3)
    np.testing.assert_allclose(_scores(graph), expected, atol=1e-6)
    np.testing.assert_allclose(_scores(graph, raw=True), raw, atol=1e-6)
    np.testing.assert_allclose(
        graph.score.remote([Pair("y", "x")]).result(), reversed_pair, atol=1e-6
    )
    assert _scores(graph)[0].tobytes() == _scores(graph)[2].tobytes()


def test_a_cross_encoder_gives_no_vectors(cross_encoder: Path) -> None:
    graph = _run("no-vectors", cross_encoder, "remote")

    with pytest.raises(InvalidInput, match="no served model can compute dense"):
        graph.embed.remote("a").result()
    with pytest.raises(InvalidInput) as caught:
        graph.score.remote([Pair("a", "")]).result()
    assert caught.value.field == "input[0].text"


def _scores(graph: Handle, *, raw: bool = False) -> Vectors:
    scores: Vectors = graph.score.remote(INPUTS, raw=raw).result()
    return scores
