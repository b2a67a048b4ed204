"""The three results of BGE-M3 beside the formulas of its paper and of its published code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from embedder.backends.checkpoint import Linear
from embedder.backends.heads.token_weights import TokenWeightsHead
from embedder.backends.torch.packed import PackedForward
from embedder.core.errors import UnsupportedModel
from embedder.core.outputs import OutputKind, RaggedRows
from embedder.core.types import TokenBatch, Truncate
from embedder.inference.loading import load_tokenizer
from tests.tiny_retrieval_models import write_bge_m3
from tests.unit.backends.parity import FLOAT32, hidden_states, load, open_files

TEXTS = ["hello, hello world!", "a b c " * 30, "x", ""]
ALL = (OutputKind.DENSE, OutputKind.SPARSE, OutputKind.TOKENS)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bge_m3(tmp_path_factory.mktemp("bge-m3"))


@pytest.fixture(scope="module")
def tokens(directory: Path) -> TokenBatch:
    return load_tokenizer(open_files(directory)).encode(TEXTS, truncate=Truncate.END).tokens


def test_all_results_are_computed_in_one_pass(
    directory: Path, tokens: TokenBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = load(directory)
    passes = []
    forward = PackedForward.__call__

    def counted(self: PackedForward, tokens: TokenBatch) -> torch.Tensor:
        passes.append(len(tokens))
        return forward(self, tokens)

    monkeypatch.setattr(PackedForward, "__call__", counted)

    results = backend.compute(tokens, ALL)

    assert (backend.outputs, tuple(results), sum(passes)) == (ALL, ALL, len(TEXTS))
    assert (backend.width, backend.token_width) == (32, 32)
    dense = results[OutputKind.DENSE]
    assert not isinstance(dense, RaggedRows)
    np.testing.assert_allclose(dense, backend.encode(tokens), atol=1e-6)


def test_weights_are_those_of_the_formula(directory: Path, tokens: TokenBatch) -> None:
    head = load_file(directory / "sparse_linear.safetensors")
    ignored = open_files(directory).tokenizer_files.ids_of(["<s>", "</s>", "<pad>", "<unk>"])
    hidden = hidden_states(directory, [row.tolist() for row in tokens.rows()])
    expected: list[dict[int, float]] = []
    for row, states in zip(
        tokens.rows(), np.split(hidden, np.cumsum(tokens.lengths)[:-1]), strict=True
    ):
        weights: dict[int, float] = {}
        for token, state in zip(row.tolist(), states, strict=True):
            weight = float(state @ head["weight"][0].numpy() + head["bias"][0].numpy())
            if weight > 0 and token not in ignored:
                weights[token] = max(weight, weights.get(token, 0.0))
        expected.append(weights)

    rows = load(directory).compute(tokens, [OutputKind.SPARSE])[OutputKind.SPARSE]

    assert isinstance(rows, RaggedRows)
    for found, weights in zip(rows.split(), expected, strict=True):
        assert found.ids is not None
        assert found.ids.tolist() == sorted(weights)
        np.testing.assert_allclose(
            found.values[:, 0], [weights[token] for token in sorted(weights)], atol=1e-4
        )
    assert any(expected)


def test_token_vectors_are_those_of_the_formula(directory: Path, tokens: TokenBatch) -> None:
    head = load_file(directory / "colbert_linear.safetensors")
    hidden = torch.from_numpy(hidden_states(directory, [row.tolist() for row in tokens.rows()]))
    projected = hidden @ head["weight"].T + head["bias"]
    unit = torch.nn.functional.normalize(projected, dim=-1).numpy()

    rows = load(directory).compute(tokens, [OutputKind.TOKENS])[OutputKind.TOKENS]

    assert isinstance(rows, RaggedRows)
    parts = np.split(unit, np.cumsum(tokens.lengths)[:-1])
    for found, expected in zip(rows.split(), parts, strict=True):
        np.testing.assert_allclose(found.values, expected[1:], atol=1e-4)


def test_only_the_results_that_are_asked_for_are_loaded(directory: Path) -> None:
    assert load(directory, FLOAT32, outputs=["tokens"]).outputs == (OutputKind.TOKENS,)
    assert load(directory, FLOAT32, outputs=["sparse", "dense"]).outputs == ALL[:2]


def test_heads_count_in_the_digests(directory: Path) -> None:
    dense, both, every = (
        open_files(directory, outputs=outputs) for outputs in (["dense"], ["dense", "sparse"], None)
    )

    assert len({dense.digest, both.digest, every.digest}) == 3
    assert len({dense.config_digest, both.config_digest, every.config_digest}) == 3


def test_pickled_heads_are_refused_if_they_are_asked_for(tmp_path: Path) -> None:
    directory = write_bge_m3(tmp_path)
    (directory / "sparse_linear.safetensors").rename(directory / "sparse_linear.pt")

    files = open_files(directory)

    assert files.layout.outputs == (OutputKind.DENSE, OutputKind.TOKENS)
    assert any("sparse_linear.pt is a pickle" in note for note in files.layout.notes)
    with pytest.raises(UnsupportedModel, match=r"asks for 'sparse'; .*as sparse_linear\.safet"):
        open_files(directory, outputs=["sparse"])


def test_a_model_without_a_result_is_refused(directory: Path) -> None:
    with pytest.raises(UnsupportedModel, match=r"asks for 'scores'; .* has dense, sparse, tokens"):
        open_files(directory, outputs=["scores"])


def test_weights_that_are_no_numbers_are_not_lost() -> None:
    head = TokenWeightsHead(Linear(torch.ones(1, 2), torch.zeros(1)), np.zeros(1, np.int32), 9)
    hidden = torch.tensor([[1.0, 1.0], [float("nan"), 0.0], [-1.0, 0.0]])
    rows = head(hidden, TokenBatch.of([np.array([1, 2, 3], np.int32)]))

    assert rows.ids is not None
    assert rows.ids.tolist() == [1, 2]
    np.testing.assert_array_equal(rows.values[:, 0], [2.0, float("nan")])
