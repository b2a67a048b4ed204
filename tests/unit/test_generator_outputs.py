"""Several kinds of results of a generator: the same alone, together, and from caches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedder import EmbedderSettings, EmbeddingGenerator, EmbedOptions
from embedder.core.errors import InvalidInput
from embedder.core.outputs import OutputKind
from embedder.output_calls import SparseVector
from tests.tiny_cross_encoders import write_cross_encoder
from tests.tiny_retrieval_models import write_bge_m3, write_splade

TEXTS = ["hello world", "a b c d e f g", "x", "hello world", "é 漢字 naïve"]
EXACT: dict[str, Any] = {"backend": {"dtype": "float32"}, "batching": {"autotune_s": 0}}


def load(directory: Path) -> EmbeddingGenerator:
    return EmbeddingGenerator(str(directory), settings=EmbedderSettings.model_validate(EXACT))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bge_m3(tmp_path_factory.mktemp("bge-m3"))


@pytest.fixture
def generator(directory: Path) -> Iterator[EmbeddingGenerator]:
    """Yield a generator with empty caches."""
    with load(directory) as loaded:
        yield loaded


def same(one: list[SparseVector], other: list[SparseVector]) -> None:
    for row, expected in zip(one, other, strict=True):
        assert row.ids.tolist() == expected.ids.tolist()
        np.testing.assert_allclose(row.weights, expected.weights, atol=1e-5)


def test_kinds_together_are_those_of_calls_for_each(
    generator: EmbeddingGenerator, directory: Path
) -> None:
    together = generator.embed_outputs(TEXTS, ["dense", "sparse", OutputKind.TOKENS])
    with load(directory) as other:
        dense, sparse = other.embed(TEXTS), other.embed_sparse(TEXTS)
        tokens = [other.embed_tokens(text)[0] for text in TEXTS]

    assert together.dense is not None
    assert together.sparse is not None
    assert together.tokens is not None
    assert together.scores is None
    np.testing.assert_allclose(together.dense, dense, atol=1e-5)
    same(together.sparse, sparse)
    for row, expected in zip(together.tokens, tokens, strict=True):
        np.testing.assert_allclose(row, expected, atol=1e-5)
    assert {row.dtype for row in together.tokens} == {np.dtype(np.float32)}


def test_only_results_that_no_cache_has_are_computed(generator: EmbeddingGenerator) -> None:
    dense = generator.embed(TEXTS[:2])
    first = generator.stats().batching.items
    together = generator.embed_outputs(TEXTS[:3], ["dense", "sparse"])
    second = generator.stats().batching.items
    again = generator.embed_outputs(TEXTS[:3], ["sparse", "dense"])
    generator.embed_sparse(TEXTS[:3])

    assert together.dense is not None
    assert again.dense is not None
    assert together.dense[:2].tobytes() == dense.tobytes()
    assert (first, second) == (2, 5)
    assert generator.stats().batching.items == second
    assert again.dense.tobytes() == together.dense.tobytes()


def test_options_apply_to_dense_vectors(generator: EmbeddingGenerator) -> None:
    raw = generator.embed_outputs(TEXTS, ["dense", "sparse"], EmbedOptions(normalize=False))

    assert raw.dense is not None
    assert not np.allclose(np.linalg.norm(raw.dense, axis=1), 1.0)


def test_weights_have_the_tokens_of_the_vocabulary(generator: EmbeddingGenerator) -> None:
    (vector,) = generator.embed_sparse("hello world")
    weights = generator.token_weights(vector)

    assert list(weights.values()) == vector.weights.tolist()
    assert all(isinstance(text, str) and text for text in weights)


def test_no_inputs_give_no_rows(generator: EmbeddingGenerator) -> None:
    nothing = generator.embed_outputs([], ["dense", "sparse", "tokens"])

    assert nothing.dense is not None
    assert len(nothing.dense) == 0
    assert (nothing.sparse, nothing.tokens) == ([], [])


@pytest.mark.parametrize(
    ("wanted", "field"),
    [(["vectors"], "output_types"), ([], "output_types"), (["scores"], "model")],
)
def test_an_output_that_there_is_not_is_refused(
    generator: EmbeddingGenerator, wanted: list[str], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        generator.embed_outputs(TEXTS, wanted)
    assert caught.value.field == field


def test_a_model_of_sparse_weights_alone(tmp_path: Path) -> None:
    with load(write_splade(tmp_path)) as generator:
        sparse = generator.embed_sparse(TEXTS)
        alone = [generator.embed_sparse([text])[0] for text in TEXTS]
        with pytest.raises(InvalidInput, match="computes sparse, not dense"):
            generator.embed(TEXTS)

    same(sparse, alone)
    assert all((np.diff(row.ids) > 0).all() for row in sparse)


def test_a_cross_encoder_has_no_token_vectors(tmp_path: Path) -> None:
    with load(write_cross_encoder(tmp_path)) as generator:
        scores = generator.embed_outputs(TEXTS, ["scores"]).scores
        expected = generator.classify(TEXTS)
        with pytest.raises(InvalidInput, match="computes scores, not tokens"):
            generator.embed_tokens(TEXTS)

    assert scores is not None
    assert scores.tobytes() == expected.tobytes()
