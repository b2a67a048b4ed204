"""The scores of a generator beside those of sentence-transformers' CrossEncoder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder import EmbedderSettings, EmbeddingGenerator, Pair
from embedder.core.errors import InvalidInput, UnsupportedModel
from embedder.core.outputs import OutputKind
from embedder.core.pairs import PairRow
from embedder.core.types import Vectors
from embedder.settings.model import BackendSettings, BatchSettings
from tests.tiny_cross_encoders import KINDS, write_cross_encoder
from tests.tiny_models import write_json, write_tiny_bert

QUERY = "what is it"
TEXTS = ["hello world", "a b c " * 60, "b [SEP] c", "É 漢字 \U0001f600", "x", "hello world", "\x00"]
LABELS = ("contradiction", "entailment", "neutral")

WriteModel = Callable[..., Path]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> WriteModel:
    @cache
    def write(kind: str, labels: tuple[str, ...] = ("relevance",)) -> Path:
        return write_cross_encoder(tmp_path_factory.mktemp(kind), kind, labels=labels)

    return write


@contextmanager
def loaded(directory: Path, **backend: object) -> Iterator[EmbeddingGenerator]:
    chosen = {"device": "cpu", "dtype": "float32", **backend}
    settings = EmbedderSettings(
        backend=BackendSettings.model_validate(chosen), batching=BatchSettings(autotune_s=0)
    )
    with EmbeddingGenerator(str(directory), settings=settings) as generator:
        yield generator


@pytest.fixture(scope="module")
def bert(written: WriteModel) -> Iterator[EmbeddingGenerator]:
    with loaded(written("bert")) as generator:
        yield generator


def expected_scores(directory: Path, pairs: list[tuple[str, str]]) -> Vectors:
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(directory), device="cpu", local_files_only=True)
    scores: Vectors = model.predict(pairs, show_progress_bar=False)
    return scores.reshape(len(pairs), -1)


@pytest.mark.parametrize("labels", [("relevance",), LABELS])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_sentence_transformers(
    written: WriteModel, kind: str, labels: tuple[str, ...]
) -> None:
    directory = written(kind, labels)
    queries = (QUERY, "long " * 50, "é")
    pairs = [(query, text) for query in queries for text in TEXTS]
    expected = expected_scores(directory, pairs)

    with loaded(directory) as generator:
        together = generator.classify([Pair(*pair) for pair in pairs])
        alone = [generator.classify([Pair(*reversed(pair))]) for pair in pairs[:2]]

    np.testing.assert_allclose(together, expected, atol=1e-4)
    assert np.ptp(expected) > 1e-2
    assert np.abs(together[:2] - np.concatenate(alone)).max() > 1e-3  # the order of a pair matters


def test_a_ranking_has_the_order_of_sentence_transformers(
    written: WriteModel, bert: EmbeddingGenerator
) -> None:
    scores = expected_scores(written("bert"), [(QUERY, text) for text in TEXTS])[:, 0]

    ranking = bert.rerank(QUERY, TEXTS)

    assert [text.index for text in ranking] == np.argsort(-scores, kind="stable").tolist()
    np.testing.assert_allclose([each.score for each in ranking], -np.sort(-scores), atol=1e-4)
    assert bert.rerank(QUERY, TEXTS, top_k=2) == ranking[:2]
    assert bert.rerank(QUERY, TEXTS, top_k=99) == ranking
    assert bert.rerank(QUERY, []) == []


def test_a_pair_scores_the_same_alone_and_in_a_batch(written: WriteModel) -> None:
    with loaded(written("bert")) as alone, loaded(written("bert")) as together:
        single = [alone.classify([Pair(QUERY, text)])[0] for text in TEXTS]
        # A text without a query lies in the same batch.
        batch = together.classify(["a text", *(Pair(QUERY, text) for text in TEXTS)])
        text = alone.classify(["a text"])[0]

    np.testing.assert_allclose(batch, [text, *single], atol=1e-6)


def test_raw_scores_are_those_before_the_sigmoid(bert: EmbeddingGenerator) -> None:
    pairs = [Pair(QUERY, text) for text in TEXTS]

    raw = bert.classify(pairs, raw_scores=True)

    np.testing.assert_allclose(1 / (1 + np.exp(-raw)), bert.classify(pairs), atol=1e-6)
    assert bert.rerank(QUERY, TEXTS, raw_scores=True)[0].score == raw.max()


def test_single_texts_are_classified(written: WriteModel) -> None:
    from sentence_transformers import CrossEncoder

    directory = written("roberta", LABELS)
    model = CrossEncoder(str(directory), device="cpu", local_files_only=True)
    features = model.tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    expected = model.model(**features).logits.detach().numpy()

    with loaded(directory) as generator:
        np.testing.assert_allclose(generator.classify(TEXTS), expected, atol=1e-4)
        assert generator.model.labels == LABELS


@given(query=st.text(min_size=1, max_size=60), text=st.text(min_size=1, max_size=60))
def test_any_unicode_has_the_token_types_of_transformers(
    written: WriteModel, bert: EmbeddingGenerator, query: str, text: str
) -> None:
    from transformers import AutoTokenizer

    tokenizer = cache(AutoTokenizer.from_pretrained)(written("bert"))
    expected = tokenizer(query, text, truncation="longest_first")

    tokenized = bert._tokenizer.encode([Pair(query, text)], truncate=bert.model.truncation)
    (row,) = tokenized.tokens.items()

    assert isinstance(row, PairRow)
    assert row.ids.tolist() == expected["input_ids"]
    assert row.types.tolist() == expected["token_type_ids"]


def test_a_repeated_pair_comes_from_the_cache(bert: EmbeddingGenerator) -> None:
    first = bert.classify([Pair("ab", "c")])
    computed = bert.stats().batching.items

    assert bert.classify([Pair("ab", "c")]) == first
    assert bert.stats().batching.items == computed
    assert bert.classify([Pair("a", "bc")]) != first


def test_the_description_names_labels_and_activation(bert: EmbeddingGenerator) -> None:
    assert bert.model.outputs == (OutputKind.SCORES,)
    assert (bert.model.labels, bert.model.activation) == (("relevance",), "sigmoid")
    assert (bert.model.width, bert.model.pooling) == (1, "classifier")


def test_a_cross_encoder_computes_no_vectors(bert: EmbeddingGenerator) -> None:
    with pytest.raises(InvalidInput, match=r"'model' names .* computes scores, not dense"):
        bert.embed("a text")


def test_a_model_of_vectors_computes_no_scores(tmp_path: Path) -> None:
    with loaded(write_tiny_bert(tmp_path)) as generator:
        with pytest.raises(InvalidInput, match="computes dense, not scores"):
            generator.rerank(QUERY, TEXTS)
        with pytest.raises(InvalidInput, match=r"'input\[0\]' is of type Pair"):
            generator.embed([Pair(QUERY, "a text")])


def test_a_model_of_several_labels_does_not_rank(written: WriteModel) -> None:
    with (
        loaded(written("bert", LABELS)) as generator,
        pytest.raises(InvalidInput, match="has 3 labels"),
    ):
        generator.rerank(QUERY, TEXTS)


@pytest.mark.parametrize(
    ("query", "texts", "top_k", "problem"),
    [
        ("", ["a"], None, "'query' must not be empty"),
        (["q"], ["a"], None, "'query' is of type list"),
        ("q", "a", None, "'texts' is of type str"),
        ("q", ["a", ""], None, r"'input\[1\].text' must not be empty"),
        ("q", [7], None, r"'input\[0\].text' is of type int"),
        ("q", ["\ud800"], None, r"'input\[0\].text' has a lone surrogate"),
        ("q\udfff", ["a"], None, r"'input\[0\].query' has a lone surrogate"),
        *(
            ("q", ["a"], top_k, f"'top_k' is {top_k!r}; it must be a whole number of at least 1")
            for top_k in (0, -1, "3", 1.5, True)
        ),
    ],
)
def test_wrong_requests_are_refused(
    bert: EmbeddingGenerator, query: str, texts: list[str], top_k: Any, problem: str
) -> None:
    with pytest.raises(InvalidInput, match=problem):
        bert.rerank(query, texts, top_k=top_k)


@pytest.mark.parametrize("backend", [{"name": "onnx"}, {"dtype": "int8"}])
def test_onnx_refuses_scores(written: WriteModel, backend: dict[str, str]) -> None:
    with (
        pytest.raises(UnsupportedModel, match="token types other than 0, which the onnx backend"),
        loaded(written("bert"), **backend),
    ):
        pass


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    directory = write_cross_encoder(tmp_path)
    config = json.loads((directory / "config.json").read_text())
    write_json(directory / "config.json", {**config, "model_type": "electra"})

    with pytest.raises(UnsupportedModel, match="lack, or have in another"), loaded(directory):
        pass


def test_a_stored_cross_encoder_of_sentence_transformers_loads(
    written: WriteModel, tmp_path: Path
) -> None:
    import torch
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(
        str(written("bert")), device="cpu", activation_fn=torch.nn.Identity(), local_files_only=True
    )
    model.save_pretrained(str(tmp_path))
    expected = model.predict([(QUERY, text) for text in TEXTS], show_progress_bar=False)

    with loaded(tmp_path) as generator:
        assert generator.model.activation == "identity"
        scores = generator.classify([Pair(QUERY, text) for text in TEXTS])

    np.testing.assert_allclose(scores[:, 0], expected, atol=1e-4)
