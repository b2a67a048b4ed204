"""Chunks get the mean of their tokens' hidden states, as transformers computes them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertModel

from embedder import EmbeddingGenerator, EmbedOptions
from embedder.backends.torch.backend import TorchBackend
from embedder.backends.torch.microbatches import Results
from embedder.chunking.late import spans_of, windows
from embedder.chunking.request import Chunk
from embedder.core.errors import InvalidInput, OutOfMemory, Unavailable
from embedder.core.outputs import OutputKind
from embedder.core.types import TokenBatch, Vectors
from embedder.core.vectors import normalize_rows
from embedder.inference.late_chunking import windows_of
from embedder.inference.tokenization import OffsetToken
from embedder.pipeline.kinds.outputs import check_late
from embedder.settings.model import EmbedderSettings
from tests.tiny_models import write_json, write_tiny_bert

MAX_TOKENS = 24
TEXTS = ["abc de fgh", "x", "hello world of ab"]
LONG = " ".join(["abc", "de", "f", "ghi", "jk"] * 6)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("bert"))


def _generator(model: Path, **backend: Any) -> EmbeddingGenerator:
    given = {
        "model": {"name": str(model), "offline": True},
        "backend": {
            "name": "torch",
            "dtype": "float32",
            "device": "cpu",
            "shared_weights": False,
            **backend,
        },
        "batching": {"autotune_s": 0, "max_tokens": 40},
    }
    return EmbeddingGenerator(settings=EmbedderSettings.model_validate(given))


@pytest.fixture(scope="module")
def generator(model: Path) -> Iterator[EmbeddingGenerator]:
    with _generator(model) as generator:
        yield generator


class Reference:
    """The chunks of a text by transformers' model and the tokens of its tokenizer."""

    def __init__(self, model: Path) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._model = BertModel.from_pretrained(model, add_pooling_layer=False).eval()

    def hidden(self, ids: list[int]) -> Vectors:
        """Return float32[n, 32], the last hidden states of one input."""
        with torch.inference_mode():
            states = self._model(torch.tensor([ids])).last_hidden_state
        found: Vectors = states[0].numpy()
        return found

    def mean(self, text: str, start: int, stop: int, prompt: str = "") -> Vectors:
        """Return the mean of the tokens between two characters of a text that is read whole."""
        encoding = self._tokenizer.encode(prompt + text)
        inside = [
            at
            for at, (a, b) in enumerate(encoding.offsets)
            if b > start + len(prompt) and a < stop + len(prompt) and b > a
        ]
        found: Vectors = self.hidden(encoding.ids)[inside].mean(axis=0)
        return found


@pytest.fixture(scope="module")
def reference(model: Path) -> Reference:
    return Reference(model)


@pytest.mark.parametrize("prompt", ["", "query ab: "])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_chunk_is_the_mean_of_its_own_tokens(
    generator: EmbeddingGenerator, reference: Reference, prompt: str, normalize: bool
) -> None:
    options = EmbedOptions(prompt=prompt, normalize=normalize)
    size = 8 if not prompt else 16
    together = generator.embed_chunks(TEXTS, options, size=size, overlap=2, late=True)
    for text, result in zip(TEXTS, together, strict=True):
        expected = np.stack(
            [reference.mean(text, one.start, one.stop, prompt) for one in result.chunks]
        )
        if normalize:
            expected = normalize_rows(expected)
        (alone,) = generator.embed_chunks(text, options, size=size, overlap=2, late=True)

        np.testing.assert_allclose(result.vectors, expected, atol=1e-4)
        np.testing.assert_allclose(alone.vectors, result.vectors, atol=1e-5)
        assert alone.chunks == result.chunks
    assert sum(len(one.chunks) for one in together) > len(TEXTS)


def test_the_ranges_are_those_of_other_chunks(generator: EmbeddingGenerator) -> None:
    (late,) = generator.embed_chunks(LONG, size=10, overlap=3, late=True)
    (plain,) = generator.embed_chunks(LONG, size=10, overlap=3)

    assert late.chunks == plain.chunks
    assert np.abs(late.vectors - plain.vectors).max() > 1e-3


def test_a_text_above_the_limit_is_read_in_windows(
    generator: EmbeddingGenerator, reference: Reference
) -> None:
    options = EmbedOptions(normalize=False)
    (found,) = generator.embed_chunks(LONG, options, size=10, overlap=3, late=True)
    encoding = reference._tokenizer.encode(LONG)
    spans = spans_of(found.chunks, np.array(encoding.offsets[1:-1]), "text")
    first, last = encoding.ids[:1], encoding.ids[-1:]
    content = encoding.ids[1:-1]
    read = list(windows(spans, len(content), MAX_TOKENS - 2))
    expected = [
        reference.hidden(first + content[one.start : one.stop] + last)[1:-1][
            start - one.start : end - one.start
        ].mean(axis=0)
        for one in read
        for start, end in spans[one.first : one.end].tolist()
    ]

    assert len(read) > 2
    np.testing.assert_allclose(found.vectors, np.stack(expected), atol=1e-4)


def test_one_chunk_of_a_whole_text_lacks_only_the_special_tokens(
    generator: EmbeddingGenerator, reference: Reference
) -> None:
    (found,) = generator.embed_chunks(" abc de ", size=24, overlap=0, late=True)
    expected = normalize_rows(reference.mean("abc de", 0, 6)[None])

    np.testing.assert_allclose(found.vectors, expected, atol=1e-4)


@pytest.mark.parametrize("text", ["ab [SEP] cd ef", "[CLS] ab cd", "ab cd [SEP]"])
def test_the_name_of_a_special_token_is_text(
    generator: EmbeddingGenerator, reference: Reference, text: str
) -> None:
    (found,) = generator.embed_chunks(text, size=8, overlap=0, late=True)
    expected = [reference.mean(text, one.start, one.stop) for one in found.chunks]

    np.testing.assert_allclose(found.vectors, normalize_rows(np.stack(expected)), atol=1e-4)


def test_a_batch_above_the_memory_is_computed_in_parts(
    generator: EmbeddingGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = generator.embed_chunks(TEXTS, size=8, overlap=2, late=True)
    generator._cache.clear()
    most = 16

    def limited(self: TorchBackend, tokens: TokenBatch, kinds: Collection[OutputKind]) -> Results:
        if len(tokens.ids) > most:
            raise OutOfMemory("full")
        return compute(self, tokens, kinds)

    compute = TorchBackend.compute
    monkeypatch.setattr(TorchBackend, "compute", limited)
    found = generator.embed_chunks(TEXTS, size=8, overlap=2, late=True)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-5)
    most = 3
    generator._cache.clear()
    with pytest.raises(OutOfMemory):
        generator.embed_chunks(TEXTS, size=8, overlap=2, late=True)


def test_no_texts_have_no_chunks(generator: EmbeddingGenerator) -> None:
    assert generator.embed_chunks([], size=8, overlap=0, late=True) == []


def test_an_error_names_the_text_or_the_option(generator: EmbeddingGenerator) -> None:
    with pytest.raises(InvalidInput, match=r"'input\[1\]' has a chunk without tokens"):
        generator.embed_chunks(["ab", "\x00\x01"], size=8, overlap=0, late=True)
    with pytest.raises(InvalidInput, match="dimensions"):
        generator.embed_chunks("ab", EmbedOptions(dimensions=3), size=8, overlap=0, late=True)


def test_another_pooling_is_refused_before_any_work(tmp_path: Path) -> None:
    model = write_tiny_bert(tmp_path)
    write_json(model / "1_Pooling" / "config.json", {"pooling_mode_cls_token": True})
    with (
        _generator(model) as generator,
        pytest.raises(InvalidInput, match=r"'late' needs a model with mean pooling; .* is 'cls'"),
    ):
        generator.embed_chunks("ab", size=8, overlap=0, late=True)


def test_a_model_without_dense_vectors_is_refused(generator: EmbeddingGenerator) -> None:
    with pytest.raises(InvalidInput, match=r"'late' needs a model of dense .* computes scores"):
        check_late(replace(generator.model, outputs=(OutputKind.SCORES,)))


def test_a_closed_generator_is_unavailable(model: Path) -> None:
    generator = _generator(model)
    generator.close()
    with pytest.raises(Unavailable):
        generator.embed_chunks("ab", size=8, overlap=0, late=True)


def test_a_chunk_with_more_tokens_in_its_text_than_alone_has_no_token_of_others() -> None:
    tokens = [OffsetToken(at, "x", False, at, at + 1) for at in range(6)]
    around = [OffsetToken(9, "[CLS]", True, None, None)]
    (window,) = windows_of("input[0]", [Chunk(0, 6, 5)], [*around, *tokens, *around], 0, 6)

    assert window.ids.tolist() == [9, 2, 3, 4, 5, 9]
    assert window.spans.tolist() == [[1, 5]]
