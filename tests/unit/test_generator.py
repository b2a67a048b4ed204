"""A generator with the default model."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from embedder import EmbedderSettings, EmbeddingGenerator, EmbedOptions
from embedder.core.errors import ConfigurationError, InvalidInput
from embedder.core.types import Input, Truncate, Vectors
from embedder.settings.cache import CacheSettings
from embedder.settings.model import BatchSettings, LimitSettings, ModelSettings
from tests.unit.waiting import LONG_S

# Without a cache, so that a repeated call computes again.
SETTINGS = EmbedderSettings(
    model=ModelSettings(offline=True, matryoshka=(64,)),
    batching=BatchSettings(autotune_s=0),
    cache=CacheSettings(max_bytes=0),
    limits=LimitSettings(max_inputs=1, max_request_tokens=1),
)
TOLERANCE = {"float32": 1e-6, "bfloat16": 4e-3}
TEXTS = [f"sentence {number} about " + "many things " * (number % 7) for number in range(50)]


@pytest.fixture(scope="module")
def generator() -> Iterator[EmbeddingGenerator]:
    with EmbeddingGenerator(settings=SETTINGS) as generator:
        yield generator


def cosines(a: Vectors, b: Vectors) -> list[float]:
    """Return the cosine of each row of ``a`` and the same row of ``b``."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    result: list[float] = ((a * b).sum(axis=1) / norms).tolist()
    return result


def test_hello_world_has_the_vector_of_the_published_model(generator: EmbeddingGenerator) -> None:
    vector = generator.embed("hello world")[0]

    np.testing.assert_allclose(vector[:5], [-0.0345, 0.0310, 0.0067, 0.0261, -0.0394], atol=1e-3)


def test_every_row_has_the_models_width_and_unit_length(generator: EmbeddingGenerator) -> None:
    vectors = generator.embed(TEXTS[:9])

    assert vectors.shape == (9, generator.model.width) == (9, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_one_text_is_embedded_like_a_list_of_one(generator: EmbeddingGenerator) -> None:
    alone, listed = generator.embed("some text"), generator.embed(["some text"])

    assert alone.shape == listed.shape == (1, 384)
    assert np.array_equal(alone, listed)


def test_no_texts_give_no_rows(generator: EmbeddingGenerator) -> None:
    assert generator.embed([]).shape == (0, 384)


def test_token_ids_have_the_vector_of_their_text(generator: EmbeddingGenerator) -> None:
    inputs: list[Input] = ["hello world", [101, 7592, 2088, 102]]
    text, ids = generator.embed(inputs)

    assert cosines(text[None], ids[None])[0] > 0.9999


def test_a_text_has_the_same_vector_alone_and_in_a_batch(generator: EmbeddingGenerator) -> None:
    together = generator.embed(TEXTS)
    alone = np.concatenate([generator.embed(text) for text in TEXTS[::7]])

    assert min(cosines(alone, together[::7])) > 0.9999


def test_several_threads_get_the_same_vectors_as_one(
    generator: EmbeddingGenerator,
) -> None:
    parts = [TEXTS[start : start + 12] for start in range(0, 40, 5)]
    barrier = threading.Barrier(len(parts))

    def embed(texts: list[str]) -> Vectors:
        barrier.wait(LONG_S)
        return generator.embed(texts)

    with ThreadPoolExecutor(len(parts)) as threads:
        results = list(threads.map(embed, parts))

    assert len(results) == 8
    for texts, result in zip(parts, results, strict=True):
        assert min(cosines(result, generator.embed(texts))) > 0.9999


def test_fewer_dimensions_are_the_first_ones_normalized(generator: EmbeddingGenerator) -> None:
    whole = generator.embed(["some text"])[:, :64]
    cut = generator.embed(["some text"], EmbedOptions(dimensions=64))

    np.testing.assert_allclose(cut, whole / np.linalg.norm(whole), atol=1e-6)


def test_without_normalization_a_vector_keeps_its_length(generator: EmbeddingGenerator) -> None:
    unit = generator.embed(["some text"])
    raw = generator.embed(["some text"], EmbedOptions(normalize=False))
    length = np.linalg.norm(raw)

    assert abs(length - 1) > 0.1
    np.testing.assert_allclose(raw / length, unit, atol=1e-6)


def test_a_prompt_is_part_of_the_text(generator: EmbeddingGenerator) -> None:
    prompted = generator.embed(["the text"], EmbedOptions(prompt="query: "))

    assert cosines(prompted, generator.embed(["query: the text"]))[0] > 0.9999
    assert cosines(prompted, generator.embed(["the text"]))[0] < 0.99


def test_limits_of_a_server_do_not_apply(generator: EmbeddingGenerator) -> None:
    assert generator.embed(["more than", "one input"]).shape == (2, 384)


def test_an_invalid_input_is_refused_and_the_generator_stays_usable(
    generator: EmbeddingGenerator,
) -> None:
    with pytest.raises(InvalidInput, match=r"input\[1\]"):
        generator.embed(["fine", ""])

    assert generator.embed("fine").shape == (1, 384)


def test_an_unknown_model_is_refused_with_the_searched_places() -> None:
    with pytest.raises(ConfigurationError) as caught:
        EmbeddingGenerator("no-such-model")

    assert "'no-such-model'" in str(caught.value)
    assert "no such directory" in str(caught.value)
    assert "the catalogue, which has all-MiniLM-L6-v2" in str(caught.value)


def test_tokens_include_special_tokens_and_are_truncated(generator: EmbeddingGenerator) -> None:
    rows = generator.tokenize(["hello world", "hello " * 400, [5, 6]])

    assert rows[0].tolist() == [101, 7592, 2088, 102]
    assert rows[1].tolist() == [101, *[7592] * 254, 102]
    assert rows[2].tolist() == [5, 6]
    assert len(generator.tokenize("hello " * 400, truncate=Truncate.NONE)[0]) == 402


def test_a_stream_yields_the_vectors_of_embed(generator: EmbeddingGenerator) -> None:
    rows = list(generator.embed_stream(iter(TEXTS)))

    np.testing.assert_allclose(rows, generator.embed(TEXTS), atol=TOLERANCE[generator.model.dtype])


def test_similarities_equal_those_of_the_model_card(generator: EmbeddingGenerator) -> None:
    texts = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    found = generator.similarity(texts, texts)

    np.testing.assert_allclose(
        found, [[1, 0.6660, 0.1046], [0.6660, 1, 0.1411], [0.1046, 0.1411, 1]], atol=4e-3
    )
