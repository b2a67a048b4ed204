"""A generator embeds the chunks of long texts as it embeds the same texts alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedder import EmbeddingGenerator, EmbedOptions, InputType
from embedder.chunking.request import Boundaries
from embedder.core.errors import InvalidInput, Unavailable
from embedder.core.request import Embeddings
from tests.unit.fake_device import INFO, Device, make_generator, vectors_of, word

TEXT = " ".join(map(word, range(100)))
SENTENCES_AND_TOKENS: tuple[Boundaries, ...] = ("sentences", "tokens")
PROMPTED = replace(INFO, prompts={"query": "q ", "document": "ddd "})


@pytest.fixture
def generator(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[EmbeddingGenerator]:
    with make_generator(
        monkeypatch, tmp_path, device, info=PROMPTED, cache_bytes=2**20
    ) as generator:
        yield generator


def test_each_chunk_has_the_vector_of_its_text(generator: EmbeddingGenerator) -> None:
    long, short = generator.embed_chunks([TEXT, " abc "], size=12, overlap=4)
    parts = [TEXT[chunk.start : chunk.stop] for chunk in long.chunks]

    assert len(parts) > 10
    assert np.array_equal(long.vectors, vectors_of(parts))
    assert np.array_equal(long.vectors, generator.embed(parts))
    assert [(chunk.start, chunk.stop, chunk.tokens) for chunk in short.chunks] == [(1, 4, 5)]
    assert np.array_equal(short.vectors, vectors_of(["abc"]))


@pytest.mark.parametrize(
    ("kind", "prompt", "words"),
    [(None, "", 6), (InputType.QUERY, "q ", 5), (InputType.DOCUMENT, "ddd ", 3)],
)
def test_the_prompt_counts_against_the_limit(
    generator: EmbeddingGenerator, kind: InputType | None, prompt: str, words: int
) -> None:
    text = "a b c d e f g h i j"
    (result,) = generator.embed_chunks(text, size=8, overlap=0, input_type=kind)
    parts = [text[chunk.start : chunk.stop] for chunk in result.chunks]

    assert len(parts[0].split()) == words
    assert result.chunks[0].tokens == 8
    assert np.array_equal(result.vectors, vectors_of([prompt + part for part in parts]))


def test_chunks_end_after_sentences(generator: EmbeddingGenerator) -> None:
    text = "a b. c d! e f"  # the tokenizer knows no marks: each is one unknown token
    by_sentence, by_word = (
        generator.embed_chunks(text, size=9, overlap=0, boundaries=boundaries)[0]
        for boundaries in SENTENCES_AND_TOKENS
    )

    assert [text[chunk.start : chunk.stop] for chunk in by_sentence.chunks] == ["a b. c d!", "e f"]
    assert [text[chunk.start : chunk.stop] for chunk in by_word.chunks] == ["a b. c d! e", "f"]


def test_chunks_of_a_second_call_come_from_the_cache(
    generator: EmbeddingGenerator, device: Device
) -> None:
    first = generator.embed_chunks(TEXT, size=12, overlap=0)
    computed = len(device.rows)
    second = generator.embed_chunks(TEXT, size=12, overlap=0)

    assert len(device.rows) == computed
    assert np.array_equal(first[0].vectors, second[0].vectors)


def test_the_options_of_vectors_apply_to_chunks(generator: EmbeddingGenerator) -> None:
    options = EmbedOptions(dimensions=2, normalize=False)
    (result,) = generator.embed_chunks("a b c", options, size=8, overlap=0)

    assert result.vectors.shape == (1, 2)
    assert result.vectors[0, 1] == 5


@pytest.mark.parametrize("show_progress", [False, True])
def test_no_texts_have_no_chunks(generator: EmbeddingGenerator, show_progress: bool) -> None:
    assert generator.embed_chunks([], size=8, overlap=0, show_progress=show_progress) == []


def test_the_limit_of_size_is_that_of_the_model(generator: EmbeddingGenerator) -> None:
    (result,) = generator.embed_chunks(TEXT, size=INFO.max_tokens, overlap=0)
    assert max(chunk.tokens for chunk in result.chunks) <= INFO.max_tokens

    with pytest.raises(InvalidInput, match=r"'size' is 25; it must be .* from 8 to 24"):
        generator.embed_chunks(TEXT, size=INFO.max_tokens + 1, overlap=0)


def test_nothing_is_computed_if_one_text_is_invalid(
    generator: EmbeddingGenerator, device: Device
) -> None:
    with pytest.raises(InvalidInput, match=r"'input\[1\]' must have a character"):
        generator.embed_chunks([TEXT, "  "], size=8, overlap=0)

    assert device.rows == []


@pytest.mark.parametrize(
    ("text", "prompt", "field"), [("\ud800 a", "", "input[0]"), ("a", "\udfff ", "prompt")]
)
def test_a_lone_surrogate_is_refused_as_embed_refuses_it(
    generator: EmbeddingGenerator, text: str, prompt: str, field: str
) -> None:
    options = EmbedOptions(prompt=prompt)
    problem = f"^'{re.escape(field)}' has a lone surrogate at character 0$"

    with pytest.raises(InvalidInput, match=problem):
        generator.embed(text, options)
    with pytest.raises(InvalidInput, match=problem):
        generator.embed_chunks(text, options, size=8, overlap=0)


def test_a_closed_generator_refuses_chunks(generator: EmbeddingGenerator) -> None:
    generator.close()
    with pytest.raises(Unavailable):
        generator.embed_chunks(TEXT, size=8, overlap=0)


def test_an_error_of_the_pipeline_names_the_text(
    generator: EmbeddingGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = generator.embed_chunks(TEXT, size=12, overlap=4)

    async def refuse(*_: object) -> Embeddings:
        raise InvalidInput(f"input[{len(first.chunks)}]", "has no tokens that the model reads")

    monkeypatch.setattr(generator._pipeline, "embed", refuse)
    with pytest.raises(InvalidInput, match=r"'input\[1\]' has no tokens that the model reads"):
        generator.embed_chunks([TEXT, "abc"], size=12, overlap=4)
