"""Several models in one graph: each answers to its names, and a change needs no other graph.

Local testing mode calls `reconfigure` of every stage while the graph is built. A change reaches the
ingress by its handle; the stages behind it load what they are asked for.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployments.rpc.handle_client import Handle
from embedder import EmbedderSettings, EmbeddingGenerator, Pair
from embedder.core.errors import ModelNotFound, UnknownModel, UnsupportedTask
from embedder.core.types import Vectors
from tests.cluster.cross_encoder import write_cross_encoder
from tests.graph.running import run_graph
from tests.tiny_models import write_tiny_bert

TEXTS = ["one text", "another one", "one text"]
QUICK: dict[str, Any] = {"autotune_s": 0}


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the directories of two models, whose vectors have 32 and 16 components."""
    root = tmp_path_factory.mktemp("models")
    for name in ("wide", "narrow"):
        (root / name).mkdir()
    write_tiny_bert(root / "wide")
    write_tiny_bert(root / "narrow", hidden_size=16)
    return root / "wide", root / "narrow"


def _run(name: str, *models: dict[str, Any]) -> Handle:
    """Return the handle of a graph that serves these models, all in this process."""
    args = {
        "model": models[0],
        "further_models": models[1:],
        "batching": QUICK,
        "limits": {"max_wait_s": 60.0},
        "data_directory": None,
    }
    return run_graph(name, args)


def _expected(directory: Path, texts: Sequence[str] = TEXTS) -> Vectors:
    settings = EmbedderSettings.model_validate({"batching": QUICK})
    with EmbeddingGenerator(str(directory), settings=settings) as generator:
        return generator.embed(texts)


def _embed(graph: Handle, model: str | None = None) -> Vectors:
    vectors: Vectors = graph.embed.remote(TEXTS, model=model).result()
    return vectors


def test_a_request_is_answered_by_the_model_that_it_names(directories: tuple[Path, Path]) -> None:
    wide, narrow = directories
    graph = _run(
        "named",
        {"name": "all-MiniLM-L6-v2", "offline": True},
        {"name": str(wide), "alias": "w"},
        {"name": str(narrow), "pinned": True},
    )

    assert _embed(graph).shape == _embed(graph, "all-MiniLM-L6-v2").shape == (3, 384)
    for name in ("w", "wide", str(wide)):
        np.testing.assert_allclose(_embed(graph, name), _expected(wide), atol=1e-5)
    np.testing.assert_allclose(_embed(graph, "narrow"), _expected(narrow), atol=1e-5)
    with pytest.raises(UnknownModel, match="'other'"):
        _embed(graph, "other")


def test_a_request_without_a_name_gets_the_first_model_with_its_task(
    directories: tuple[Path, Path], tmp_path: Path
) -> None:
    """The files say which; a model that has another task is not loaded for that."""
    wide, narrow = directories
    cross_encoder = write_cross_encoder(tmp_path)
    broken = tmp_path / "broken"
    shutil.copytree(narrow, broken)
    (broken / "model.safetensors").unlink()
    graph = _run("tasks", *({"name": str(one)} for one in (cross_encoder, wide, broken)))
    scores: Vectors = graph.score.remote([Pair("a", text) for text in TEXTS]).result()

    assert scores.shape == (3, 1)
    np.testing.assert_allclose(_embed(graph), _expected(wide), atol=1e-5)
    with pytest.raises(UnsupportedTask, match="'cross-encoder', which cannot compute dense"):
        _embed(graph, "cross-encoder")
    with pytest.raises(UnsupportedTask, match="'broken', which cannot classify"):
        graph.score.remote(TEXTS, model="broken").result()


def test_a_name_moves_to_another_model_and_no_request_fails(
    directories: tuple[Path, Path],
) -> None:
    wide, narrow = directories
    graph = _run("swapped", {"name": str(wide), "alias": "live"})
    before = _embed(graph, "live")
    change = {"models": [{"name": str(narrow), "alias": "live"}]}
    graph.reconfigure.remote(change).result()
    widths = _widths_until(graph, 16)

    assert before.shape == (3, 32)
    assert widths == sorted(widths, reverse=True)
    np.testing.assert_allclose(_embed(graph, "live"), _expected(narrow), atol=1e-5)
    np.testing.assert_allclose(_embed(graph), _expected(narrow), atol=1e-5)
    with pytest.raises(UnknownModel):
        _embed(graph, "wide")


def _widths_until(graph: Handle, wanted: int) -> list[int]:
    """Ask for the live model until its vectors are so wide; return the widths of all answers."""
    widths = [0]
    while widths[-1] != wanted:
        widths.append(_embed(graph, "live").shape[1])
    return widths[1:]


def test_a_model_that_cannot_be_loaded_leaves_the_others_serving(
    directories: tuple[Path, Path],
) -> None:
    wide, narrow = directories
    missing = {"name": "no-such-model", "revision": "0" * 40, "offline": True}
    good = [{"name": str(wide), "alias": "live"}, {"name": str(narrow)}]
    graph = _run("broken", *good, {**missing, "alias": "gone"})
    before = _embed(graph, "live")
    with pytest.raises(ModelNotFound, match="no-such-model"):
        _embed(graph, "gone")
    graph.reconfigure.remote({"models": [{**missing, "alias": "live"}, good[1]]}).result()
    kept = [_embed(graph, "live").shape, _embed(graph).shape, _embed(graph, "narrow").shape]
    graph.reconfigure.remote({"models": good}).result()

    assert kept == [(3, 32), (3, 32), (3, 16)]
    np.testing.assert_allclose(before, _expected(wide), atol=1e-5)
    np.testing.assert_allclose(_embed(graph, "live"), before, atol=1e-5)


def test_a_change_that_is_no_list_of_models_changes_nothing(
    directories: tuple[Path, Path],
) -> None:
    graph = _run("wrong", {"name": str(directories[0])})
    graph.reconfigure.remote({"models": []}).result()

    assert _embed(graph).shape == (3, 32)
