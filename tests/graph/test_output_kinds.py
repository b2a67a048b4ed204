"""A graph computes several kinds of results of a text in one pass, as the library does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployments.rpc.handle_client import Handle
from embedder import EmbedderSettings
from embedder.core.errors import UnsupportedTask
from embedder.core.outputs import OutputKind, RaggedRows
from embedder.core.types import Rows, Truncate
from embedder.inference.loading import load_model
from embedder.inference.local import LocalTokenizer
from tests.graph.running import run_graph
from tests.tiny_models import write_tiny_bert
from tests.tiny_retrieval_models import write_bge_m3

TEXTS = ["hello world", "a", "hello world", "naïve café 🙂, and more words than before"]
KINDS = (OutputKind.DENSE, OutputKind.SPARSE, OutputKind.TOKENS)
QUICK: dict[str, Any] = {"autotune_s": 0}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a model with all kinds."""
    return write_bge_m3(tmp_path_factory.mktemp("models") / "three")


def _of_library(directory: Path) -> list[Mapping[OutputKind, Rows]]:
    """Return what the backend computes of each text alone."""
    settings = EmbedderSettings.model_validate(
        {"model": {"name": str(directory)}, "backend": {"dtype": "float32"}, "batching": QUICK}
    )
    tokenizer, loaded = LocalTokenizer.load(settings.model), load_model(settings)
    tokens = [tokenizer.encode([text], truncate=Truncate.END).tokens for text in TEXTS]
    return [loaded.backend.compute(one, KINDS) for one in tokens]


def _run(name: str, *models: Path) -> Handle:
    """Return the handle of a graph that serves these models in float32."""
    first, *further = [{"name": str(one)} for one in models]
    args = {
        "model": first,
        "further_models": further,
        "backend": {"dtype": "float32"},
        "batching": QUICK,
        "limits": {"max_wait_s": 60.0},
        "data_directory": None,
    }
    return run_graph(name, args)


def test_the_rows_of_every_kind_are_those_of_the_library(directory: Path) -> None:
    graph, expected = _run("kinds", directory), _of_library(directory)
    found = graph.outputs.remote(TEXTS, KINDS).result()
    again = graph.outputs.remote(TEXTS[1:], KINDS[1:]).result()

    dense = np.concatenate([alone[OutputKind.DENSE] for alone in expected])
    dense /= np.linalg.norm(dense, axis=1, keepdims=True)
    np.testing.assert_allclose(found[OutputKind.DENSE], dense, atol=1e-4)
    for kind in KINDS[1:]:
        rows, cached = found[kind].split(), again[kind].split()
        for row, alone in zip(rows, expected, strict=True):
            _assert_same(row, alone[kind])
        for row, first in zip(cached, rows[1:], strict=True):
            _assert_same(row, first)


def test_a_request_without_a_name_gets_the_model_with_all_kinds(
    directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "dense").mkdir()
    write_tiny_bert(tmp_path / "dense")
    graph = _run("chosen", tmp_path / "dense", directory)
    both = graph.outputs.remote(TEXTS, KINDS[:2]).result()

    assert both[OutputKind.DENSE].shape == (4, 32)
    assert len(both[OutputKind.SPARSE]) == 4
    with pytest.raises(UnsupportedTask, match="'dense', which cannot compute sparse weights"):
        graph.outputs.remote(TEXTS, KINDS[:2], model="dense").result()


def _assert_same(row: RaggedRows, expected: Rows) -> None:
    assert isinstance(expected, RaggedRows)
    np.testing.assert_allclose(row.values, expected.values, atol=1e-4)
    if expected.ids is not None:
        np.testing.assert_array_equal(row.ids, expected.ids)
