"""The openvino backend gives the vectors of sentence-transformers and of the torch backend."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.backends.precision import min_cosine
from embedder.core.errors import ConfigurationError, UnsupportedModel
from embedder.core.outputs import OutputKind, RaggedRows
from embedder.core.pairs import ChunkTokens
from embedder.core.types import TokenBatch, Vectors
from embedder.core.vectors import normalize_rows
from embedder.inference.loading import load_tokenizer
from embedder.settings.model import BackendSettings
from tests.tiny_architectures import ARCHITECTURES, mixed_texts, write_dense, write_pooling
from tests.tiny_models import PIECES, write_modules
from tests.unit.backends.conftest import WriteModel
from tests.unit.backends.parity import (
    POSITIONS,
    assert_same,
    load,
    open_files,
    random_inputs,
    reference_vectors,
)

if TYPE_CHECKING:
    from embedder.backends.openvino.backend import OpenVinoBackend

PACKED = ("bert", "roberta", "mpnet", "distilbert")
WEIGHTED = [
    "pooling_mode_cls_token",
    "pooling_mode_lasttoken",
    "pooling_mode_mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens",
]
INPUTS = st.lists(
    st.lists(st.integers(0, len(PIECES) - 1), min_size=1, max_size=POSITIONS),
    min_size=1,
    max_size=8,
)


def _load(directory: Path, dtype: str = "float32", **settings: Any) -> OpenVinoBackend:
    from embedder.backends.openvino.backend import OpenVinoBackend

    values = {"device": "cpu", "dtype": dtype, **settings}
    return OpenVinoBackend.load(open_files(directory), BackendSettings.model_validate(values))


def _vectors(directory: Path, texts: list[str]) -> Vectors:
    files = open_files(directory)
    tokens = load_tokenizer(files).encode(texts, truncate=files.tokenizer_files.truncation).tokens
    vectors = _load(directory).encode(tokens)
    return normalize_rows(vectors) if files.layout.normalizes else vectors


@pytest.fixture(scope="module")
def exact(model_of: WriteModel) -> OpenVinoBackend:
    return _load(model_of("bert"))


@pytest.mark.parametrize("name", PACKED)
def test_every_packed_architecture_has_the_vectors_of_sentence_transformers(
    name: str, model_of: WriteModel
) -> None:
    texts = mixed_texts(ARCHITECTURES[name])
    directory = model_of(name)

    assert_same(_vectors(directory, texts), reference_vectors(directory, texts))


@pytest.mark.parametrize("flag", WEIGHTED)
def test_every_pooling_by_weights_is_that_of_sentence_transformers(
    flag: str, tiny: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(tiny, tmp_path / "copy", ignore=shutil.ignore_patterns("[0-9]_*"))
    write_pooling(copy / "1_Pooling", 32, flag, "pooling_mode_mean_tokens")
    write_dense(copy / "2_Dense", 64, 12, bias=True)
    write_modules(copy, [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense")])
    texts = ["a", "abc de", "zyx wvu tsr"]

    assert_same(_vectors(copy, texts), reference_vectors(copy, texts))


@given(INPUTS, st.data())
@settings(max_examples=10)
def test_a_text_has_the_same_vector_in_any_batch_and_order(
    exact: OpenVinoBackend, inputs: list[list[int]], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(inputs))))
    alone = np.concatenate([exact.encode(TokenBatch.of([ids])) for ids in inputs])

    together = exact.encode(TokenBatch.of([inputs[at] for at in order]))

    np.testing.assert_allclose(together, alone[order], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["bert", "mpnet"])
def test_bfloat16_is_close_to_float32(name: str, model_of: WriteModel) -> None:
    tokens = TokenBatch.of(random_inputs(40))
    expected = load(model_of(name)).encode(tokens)

    found = _load(model_of(name), "bfloat16").encode(tokens)

    assert min_cosine(expected, found) > 0.995
    assert (found != expected).any()


def test_spans_have_the_vectors_that_torch_gives_them(tiny: Path) -> None:
    rows = [
        ChunkTokens(
            np.array(ids, np.int32), np.array([(0, len(ids)), (len(ids) - 1, len(ids))], np.int32)
        )
        for ids in random_inputs(6)
    ]
    tokens = TokenBatch.of(rows)
    kinds = (OutputKind.DENSE,)
    found = _load(tiny).compute(tokens, kinds)[OutputKind.DENSE]
    expected = load(tiny).compute(tokens, kinds)[OutputKind.DENSE]

    assert isinstance(found, RaggedRows)
    assert isinstance(expected, RaggedRows)
    assert found.lengths.tolist() == expected.lengths.tolist() == [2] * 6
    np.testing.assert_allclose(found.values, expected.values, atol=1e-5, rtol=0)


def test_several_threads_and_shared_weights_change_nothing(tiny: Path, tmp_path: Path) -> None:
    tokens = TokenBatch.of(random_inputs(30))
    expected = _load(tiny).encode(tokens)

    found = _load(tiny, threads=2, shared_weights=True, cache_dir=str(tmp_path)).encode(tokens)

    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)
    assert list(tmp_path.glob("*/weights.safetensors"))


def test_an_empty_batch_has_no_vectors(exact: OpenVinoBackend) -> None:
    assert exact.encode(TokenBatch.of([])).shape == (0, exact.width)


def test_a_backend_describes_itself(exact: OpenVinoBackend, model_of: WriteModel) -> None:
    narrow = _load(model_of("bert"), "bfloat16")

    assert (exact.name, exact.device, exact.dtype) == ("openvino", "cpu", "float32")
    assert exact.outputs == (OutputKind.DENSE,)
    assert (exact.width, exact.padded, exact.max_batch_tokens) == (32, False, 2048)
    assert 0 < narrow.memory_bytes < exact.memory_bytes


@pytest.mark.parametrize(
    ("name", "reason"), [("modernbert", "'modernbert'"), ("qwen3", "'qwen3'"), ("t5", "'t5'")]
)
def test_an_architecture_without_packed_pass_is_refused(
    name: str, reason: str, model_of: WriteModel
) -> None:
    with pytest.raises(UnsupportedModel, match=reason):
        _load(model_of(name))


def test_a_maximum_is_no_weighted_sum(tiny: Path) -> None:
    from embedder.backends.openvino.backend import unsupported_reason

    reason = unsupported_reason(open_files(tiny, pooling="max"))

    assert reason == "the openvino backend has no pooling 'max'"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "cuda:0"}, "backend.device is 'cuda:0'; the openvino backend computes on the"),
        ({"dtype": "float16"}, "backend.dtype is 'float16'; the openvino backend computes float32"),
        ({"dtype": "int8"}, "backend.dtype is 'int8'; the openvino backend computes float32 and"),
    ],
)
def test_what_it_does_not_compute_is_refused(
    tiny: Path, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        _load(tiny, **settings)


def test_openvino_runs_without_its_telemetry() -> None:
    from embedder.backends.openvino.runtime import ov

    assert ov.Core is not None
    assert sys.modules.get("openvino_telemetry", "absent") is None
    assert "openvino.tools.ovc.telemetry_stub" in sys.modules
