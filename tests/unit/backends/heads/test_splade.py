"""The sparse weights of masked language models, beside sentence-transformers and the formula."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from embedder.backends.heads import splade
from embedder.core.errors import UnsupportedModel
from embedder.core.outputs import OutputKind, RaggedRows
from embedder.core.types import TokenBatch, Truncate, Vectors
from embedder.inference.loading import load_tokenizer
from tests.tiny_models import write_json
from tests.tiny_retrieval_models import write_splade
from tests.unit.backends.parity import FLOAT32, load, open_files

TEXTS = ["hello world", "a b c " * 30, "x", "", "hello, hello!"]
KINDS = ("bert", "roberta", "xlm-roberta", "camembert", "mpnet", "distilbert")


def tokens_of(directory: Path, texts: list[str], **model: object) -> TokenBatch:
    tokenizer = load_tokenizer(open_files(directory, **model))
    return tokenizer.encode(texts, truncate=Truncate.END).tokens


def dense_weights(rows: RaggedRows, width: int) -> Vectors:
    """Return float32[n, width] of sparse rows, whose ids ascend."""
    found = np.zeros((len(rows), width), np.float32)
    for at, row in enumerate(rows.split()):
        assert row.ids is not None
        assert (np.diff(row.ids) > 0).all()
        assert (row.values > 0).all()
        found[at, row.ids] = row.values[:, 0]
    return found


def our_weights(directory: Path, texts: list[str], **model: object) -> Vectors:
    backend = load(directory, FLOAT32, **model)
    assert backend.outputs == (OutputKind.SPARSE,)
    tokens = tokens_of(directory, texts, **model)
    rows = backend.compute(tokens, backend.outputs)[OutputKind.SPARSE]
    assert isinstance(rows, RaggedRows)
    return dense_weights(rows, backend.width)


def expected_weights(directory: Path, texts: list[str]) -> Vectors:
    from sentence_transformers import SparseEncoder

    model = SparseEncoder(str(directory), device="cpu", local_files_only=True)
    found = model.encode(texts, convert_to_sparse_tensor=False, show_progress_bar=False)
    weights: Vectors = torch.stack(list(found)).numpy()
    return weights


def logits(directory: Path, row: NDArray[np.int32]) -> NDArray[np.float64]:
    from transformers import AutoModelForMaskedLM

    model = AutoModelForMaskedLM.from_pretrained(directory, attn_implementation="eager").eval()
    with torch.inference_mode():
        found: NDArray[np.float64] = model(torch.from_numpy(row)[None].long()).logits[0].numpy()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_those_of_sentence_transformers(tmp_path: Path, kind: str) -> None:
    directory = write_splade(tmp_path, kind)

    expected = expected_weights(directory, TEXTS)

    np.testing.assert_allclose(our_weights(directory, TEXTS), expected, atol=1e-4)
    assert (expected > 0).any(axis=1).all()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    ("pooling", "activation"), [("sum", "relu"), ("max", "log1p_relu"), ("sum", "log1p_relu")]
)
def test_every_option_of_the_pooling_is_computed(
    tmp_path: Path, pooling: str, activation: str, tied: bool
) -> None:
    directory = write_splade(tmp_path, pooling=pooling, activation=activation, tied=tied)

    expected = expected_weights(directory, TEXTS)

    np.testing.assert_allclose(our_weights(directory, TEXTS), expected, atol=1e-4)


def test_weights_are_those_of_the_formula(tmp_path: Path) -> None:
    directory = write_splade(tmp_path, pooling=None)
    tokens = tokens_of(directory, TEXTS)

    found = our_weights(directory, TEXTS, outputs=["sparse"])

    for row, weights in zip(tokens.rows(), found, strict=True):
        expected = np.log1p(np.maximum(logits(directory, row), 0)).max(axis=0)
        np.testing.assert_allclose(weights, expected, atol=1e-4)


@pytest.mark.parametrize("pooling", ["max", "sum"])
def test_blocks_of_any_size_give_the_same_weights(
    tmp_path: Path, pooling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = write_splade(tmp_path, pooling=pooling)
    whole = our_weights(directory, TEXTS)

    for tokens in (1, 5, 17):
        monkeypatch.setattr(splade, "MAX_LOGITS", tokens * whole.shape[1])
        np.testing.assert_allclose(our_weights(directory, TEXTS), whole, atol=1e-5)


def test_an_input_alone_has_the_same_weights(tmp_path: Path) -> None:
    directory = write_splade(tmp_path)
    together = our_weights(directory, TEXTS)

    for text, weights in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(our_weights(directory, [text])[0], weights, atol=1e-5)


def test_a_plain_directory_computes_weights_only_if_they_are_asked_for(tmp_path: Path) -> None:
    directory = write_splade(tmp_path, pooling=None)

    assert load(directory).outputs == (OutputKind.DENSE,)
    both = load(directory, outputs=["sparse", "dense"])
    results = both.compute(tokens_of(directory, TEXTS), both.outputs)

    assert both.outputs == (OutputKind.DENSE, OutputKind.SPARSE)
    np.testing.assert_array_equal(
        results[OutputKind.DENSE], load(directory).encode(tokens_of(directory, TEXTS))
    )
    sparse = results[OutputKind.SPARSE]
    assert isinstance(sparse, RaggedRows)
    expected = our_weights(directory, TEXTS, outputs=["sparse"])
    np.testing.assert_allclose(dense_weights(sparse, expected.shape[1]), expected, atol=1e-6)


def test_other_classes_and_options_are_refused(tmp_path: Path) -> None:
    directory = write_splade(tmp_path / "options")
    write_json(directory / "1_SpladePooling" / "config.json", {"pooling_strategy": "mean"})
    with pytest.raises(UnsupportedModel, match="'pooling_strategy' = 'mean'; supported: max, sum"):
        open_files(directory)

    electra = write_splade(tmp_path / "electra")
    write_json(
        electra / "config.json",
        {**open_files(electra).config, "architectures": ["ElectraForMaskedLM"]},
    )
    with pytest.raises(UnsupportedModel, match="with 'ElectraForMaskedLM'; supported: BertFor"):
        load(electra)


def test_a_batch_without_inputs_has_no_rows(tmp_path: Path) -> None:
    backend = load(write_splade(tmp_path))

    rows = backend.compute(TokenBatch.of([]), backend.outputs)[OutputKind.SPARSE]

    assert isinstance(rows, RaggedRows)
    assert (len(rows), rows.width, rows.nbytes) == (0, 1, 8)
