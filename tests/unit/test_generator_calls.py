"""Other calls of a generator: prompts by input type, similarity, tokens, warm-up, lifetime."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedder import EmbeddingGenerator, EmbedOptions, InputType
from embedder.core.errors import InvalidInput, InvalidVector
from embedder.core.types import Truncate
from embedder.settings.model import BatchSettings
from tests.unit.fake_device import INFO, Device, ids, make_generator, vectors_of, word

WORDS = [word(number) for number in range(30)]
PROMPTED = replace(INFO, prompts={"query": "q ", "document": "p ", "title": "t "})


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def generator(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[EmbeddingGenerator]:
    with make_generator(
        monkeypatch, tmp_path, device, info=PROMPTED, cache_bytes=2**20
    ) as generator:
        yield generator


def test_queries_and_documents_get_the_prompts_of_the_model(generator: EmbeddingGenerator) -> None:
    assert np.array_equal(generator.embed(WORDS), vectors_of(WORDS))
    assert np.array_equal(generator.embed_query(WORDS), vectors_of([f"q {text}" for text in WORDS]))
    assert np.array_equal(
        generator.embed_document(WORDS), vectors_of([f"p {text}" for text in WORDS])
    )
    assert np.array_equal(generator.embed_query("abc"), vectors_of(["q abc"]))


def test_a_prompt_in_the_options_replaces_that_of_the_input_type(
    generator: EmbeddingGenerator,
) -> None:
    own, named = EmbedOptions(prompt="x "), EmbedOptions(prompt_name="title")
    none = EmbedOptions(prompt="")

    assert np.array_equal(generator.embed_query("abc", own), vectors_of(["x abc"]))
    assert np.array_equal(generator.embed_document("abc", named), vectors_of(["t abc"]))
    assert np.array_equal(generator.embed_query("abc", none), vectors_of(["abc"]))


def test_the_call_sets_the_input_type_and_keeps_the_other_options(
    generator: EmbeddingGenerator,
) -> None:
    options = EmbedOptions(input_type=InputType.QUERY, dimensions=2, normalize=False)
    raw = generator.embed_document("abc", options)

    assert raw.tolist() == [[sum(ids("p abc")), len(ids("p abc"))]]


def test_a_prompt_and_an_input_type_together_are_refused(generator: EmbeddingGenerator) -> None:
    options = EmbedOptions(prompt="x ", input_type=InputType.QUERY)
    with pytest.raises(InvalidInput, match="'input_type' cannot stand beside 'prompt'"):
        generator.embed("abc", options)


def test_the_similarity_of_texts_is_that_of_their_vectors(generator: EmbeddingGenerator) -> None:
    expected = vectors_of(WORDS) @ vectors_of(WORDS[:3]).T

    np.testing.assert_allclose(generator.similarity(WORDS, WORDS[:3]), expected, atol=1e-6)
    np.testing.assert_allclose(
        generator.similarity(generator.embed(WORDS), WORDS[:3]), expected, atol=1e-6
    )
    np.testing.assert_allclose(generator.similarity("abc", "abc"), [[1]], atol=1e-6)
    assert generator.similarity([], WORDS).shape == (0, 30)


def test_the_default_metric_is_that_of_the_model(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = replace(INFO, similarity="manhattan")
    a, b = np.array([[1, 2]], np.float32), np.array([[4, 6], [1, 2]], np.float32)
    with make_generator(monkeypatch, tmp_path, device, info=info) as generator:
        assert generator.similarity(a, b).tolist() == [[-7, 0]]
        assert generator.similarity(a, b, "euclidean").tolist() == [[-5, 0]]


def test_invalid_matrices_and_metrics_are_refused(generator: EmbeddingGenerator) -> None:
    wide, flat = np.ones((2, 5), np.float32), np.ones(4, np.float32)
    with pytest.raises(InvalidVector, match="'b' has 5 components; a has 4"):
        generator.similarity(WORDS, wide)
    with pytest.raises(InvalidVector, match="'a' has 1 dimensions"):
        generator.similarity(flat, WORDS)
    with pytest.raises(InvalidInput, match="'metric' is 'jaccard'"):
        generator.similarity(WORDS, WORDS, "jaccard")  # type: ignore[arg-type]


def test_tokens_equal_those_of_the_device(generator: EmbeddingGenerator, device: Device) -> None:
    texts = ["abc", "a b", "x" * 90]
    rows = [row.tolist() for row in generator.tokenize(texts)]
    generator.embed(texts)

    assert sorted(rows) == sorted(device.rows)
    assert rows[:2] == [ids("abc"), ids("a b")]
    assert len(rows[2]) == 24
    assert generator.tokenize("x" * 90, truncate=Truncate.NONE)[0].tolist() == ids("x" * 90)


def test_warm_up_computes_the_largest_batch_and_fills_the_cache(
    generator: EmbeddingGenerator, device: Device
) -> None:
    seconds = generator.warm_up(WORDS)
    batches = len(device.batches)
    vectors = generator.embed(WORDS)

    assert seconds > 0
    assert [len(row) for row in device.batches[0]] == [24, 24]
    assert len(device.batches) == batches > 1
    assert np.array_equal(vectors, vectors_of(WORDS))


def test_the_largest_batch_has_at_most_max_items_inputs(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batching = BatchSettings(max_items=1)
    with make_generator(monkeypatch, tmp_path, device, batching=batching) as generator:
        generator.warm_up()

    assert [len(row) for row in device.batches[0]] == [24]


@pytest.mark.parametrize(("passed_s", "computed"), [(9.0, 1), (11.0, 2)])
def test_a_cached_vector_expires_after_its_ttl(
    device: Device,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    passed_s: float,
    computed: int,
) -> None:
    with make_generator(monkeypatch, tmp_path, device, cache_bytes=2**20, ttl_s=10) as generator:
        for now in (0.0, passed_s):
            monkeypatch.setattr(generator._cache, "_clock", lambda now=now: now)
            generator.embed([WORDS[0]])

    assert len(device.batches) == computed
