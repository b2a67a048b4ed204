"""The onnx backend computes what transformers computes, from a graph that is made once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from embedder.backends.onnx import backend as onnx_backend
from embedder.backends.onnx.backend import OnnxBackend
from embedder.backends.precision import min_cosine
from embedder.core.errors import BackendFailure, ConfigurationError, OutOfMemory
from embedder.core.types import TokenBatch, Vectors
from embedder.models.files import ModelFiles
from embedder.settings.model import BackendSettings, ModelSettings, PoolingName
from tests.tiny_models import BERT_CONFIG, VOCABULARY, write_tiny_bert

POSITIONS = int(BERT_CONFIG["max_position_embeddings"])
INPUTS = st.lists(
    st.lists(st.integers(0, len(VOCABULARY) - 1), min_size=1, max_size=POSITIONS),
    min_size=1,
    max_size=8,
)


def _load(
    directory: Path, cache: Path, pooling: PoolingName | None = None, **settings: Any
) -> OnnxBackend:
    files = ModelFiles.open(ModelSettings(name=str(directory), pooling=pooling))
    given = {"name": "onnx", "device": "cpu", "cache_dir": str(cache), **settings}
    return OnnxBackend.load(files, BackendSettings.model_validate(given))


def _random_tokens(count: int) -> TokenBatch:
    numbers = np.random.default_rng(1)
    sizes = numbers.integers(1, POSITIONS + 1, size=count)
    return TokenBatch.of(
        [numbers.integers(0, len(VOCABULARY), size=size).astype(np.int32) for size in sizes]
    )


def _by_transformers(directory: Path, tokens: TokenBatch) -> Vectors:
    """Return the mean of every input's hidden states, each input computed by itself."""
    from transformers import BertModel

    model = BertModel.from_pretrained(directory, add_pooling_layer=False).eval()
    with torch.inference_mode():
        states = [
            model(torch.from_numpy(row[None].astype(np.int64))).last_hidden_state
            for row in tokens.rows()
        ]
    return torch.cat([state.mean(dim=1) for state in states]).numpy()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("tiny-bert"))


@pytest.fixture(scope="module")
def cache(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold the tiny model's graphs: an export takes seconds."""
    folder = tmp_path_factory.mktemp("graphs")
    _load(tiny, folder, dtype="int8")
    return folder


@pytest.fixture(scope="module")
def exact(tiny: Path, cache: Path) -> OnnxBackend:
    return _load(tiny, cache)


@pytest.fixture(scope="module")
def narrow(tiny: Path, cache: Path) -> OnnxBackend:
    return _load(tiny, cache, dtype="int8")


@pytest.fixture
def exports(cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Let exports copy the graph there is, and list where they were written to."""
    (whole,) = (path for path in cache.iterdir() if _is_float32(path))
    folders: list[Path] = []

    def copy(files: ModelFiles, folder: Path) -> None:
        folders.append(folder)
        for path in whole.glob("model.onnx*"):
            shutil.copy(path, folder)

    monkeypatch.setattr(onnx_backend, "export_graph", copy)
    return folders


def _is_float32(folder: Path) -> bool:
    return folder.is_dir() and b"QuantizeLinear" not in (folder / "model.onnx").read_bytes()


def test_float32_has_the_vectors_that_transformers_gives_each_input_alone(
    tiny: Path, exact: OnnxBackend
) -> None:
    tokens = _random_tokens(40)

    vectors = exact.encode(tokens)

    assert vectors.dtype == np.float32
    assert min_cosine(_by_transformers(tiny, tokens), vectors) > 0.99999
    np.testing.assert_allclose(vectors, _by_transformers(tiny, tokens), atol=1e-5, rtol=0)


def test_int8_stays_near(exact: OnnxBackend, narrow: OnnxBackend) -> None:
    tokens = _random_tokens(100)

    near, expected = narrow.encode(tokens), exact.encode(tokens)

    assert min_cosine(expected, near) > 0.99
    assert (near != expected).any()


@given(INPUTS, st.data())
def test_a_text_has_the_same_vector_in_any_company_and_order(
    exact: OnnxBackend, narrow: OnnxBackend, inputs: list[list[int]], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(inputs))))
    for backend, tolerance in ((exact, 1e-5), (narrow, 0.05)):
        alone = np.concatenate([backend.encode(TokenBatch.of([ids])) for ids in inputs])

        shuffled = backend.encode(TokenBatch.of([inputs[at] for at in order]))

        np.testing.assert_allclose(shuffled, alone[order], atol=tolerance, rtol=0)


def test_the_pooling_is_the_layouts(tiny: Path, cache: Path, exact: OnnxBackend) -> None:
    tokens = TokenBatch.of([[5, 6, 7]])

    first = _load(tiny, cache, pooling="cls").encode(tokens)

    assert (first != exact.encode(tokens)).any()


def test_no_texts_have_no_vectors(exact: OnnxBackend) -> None:
    assert exact.encode(TokenBatch.of([])).shape == (0, exact.width)


def test_a_backend_says_what_it_is(exact: OnnxBackend, narrow: OnnxBackend) -> None:
    assert (exact.name, exact.device, exact.dtype) == ("onnx", "cpu", "float32")
    assert (exact.width, exact.padded, exact.max_batch_tokens) == (32, False, 2048)
    assert narrow.dtype == "int8"
    assert 0 < narrow.memory_bytes < exact.memory_bytes


def test_the_threads_asked_for_are_used_and_do_not_spin(tiny: Path, cache: Path) -> None:
    options = _load(tiny, cache, threads=1)._forward.session.get_session_options()

    assert options.intra_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_a_kept_graph_is_not_exported_again(tiny: Path, cache: Path, exports: list[Path]) -> None:
    written = {path: path.stat().st_mtime_ns for path in cache.rglob("*.onnx*")}

    _load(tiny, cache)
    _load(tiny, cache, dtype="int8")

    assert exports == []
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.onnx*")} == written


def test_other_weights_are_exported_for_themselves(
    tmp_path: Path, cache: Path, exports: list[Path]
) -> None:
    other = write_tiny_bert(tmp_path, layer_norm_eps=1e-3)

    _load(other, shutil.copytree(cache, tmp_path / "graphs"))

    assert len(exports) == 1


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_damaged_graph_is_exported_again(
    tiny: Path, cache: Path, exact: OnnxBackend, exports: list[Path], tmp_path: Path, dtype: str
) -> None:
    copied = shutil.copytree(cache, tmp_path / "graphs")
    for weights in copied.rglob("*.data"):
        weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    tokens = _random_tokens(5)

    vectors = _load(tiny, copied, dtype=dtype).encode(tokens)

    assert len(exports) == 1
    assert min_cosine(vectors, exact.encode(tokens)) > 0.99


def test_a_graph_that_the_runtime_refuses_is_exported_again(
    tiny: Path, exports: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = vars(onnx_backend)["export_graph"]

    def fail_once(files: ModelFiles, folder: Path) -> None:
        copy(files, folder)
        if len(exports) == 1:
            (folder / "model.onnx").write_bytes(b"no graph")

    monkeypatch.setattr(onnx_backend, "export_graph", fail_once)

    assert _load(tiny, tmp_path).encode(TokenBatch.of([[1]])).shape == (1, 32)
    assert len(exports) == 2


def test_a_graph_that_the_runtime_always_refuses_is_reported(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def garble(files: ModelFiles, folder: Path) -> None:
        (folder / "model.onnx").write_bytes(b"no graph")

    monkeypatch.setattr(onnx_backend, "export_graph", garble)

    with pytest.raises(ConfigurationError, match=r"cannot be computed in onnx: onnxruntime does"):
        _load(tiny, tmp_path)


def _see_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)


def test_int8_stays_on_the_cpu_where_a_gpu_is_seen(
    tiny: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _see_a_gpu(monkeypatch)

    assert _load(tiny, cache, device="auto", dtype="int8").device == "cpu"


def test_a_gpu_that_the_runtime_falls_back_from_is_refused(
    tiny: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OnCpu:
        """A session as the runtime makes it where CUDA does not load."""

        def __init__(self, *_: object, **__: object) -> None:
            pass

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    _see_a_gpu(monkeypatch)
    monkeypatch.setattr(onnxruntime, "InferenceSession", OnCpu)

    with pytest.raises(ConfigurationError, match="'cuda', which onnxruntime cannot use"):
        _load(tiny, cache, device="cuda")


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Failed to allocate memory for requested buffer of size 9", OutOfMemory),
        ("std::bad_alloc", OutOfMemory),
        ("CUDA failure 2: out of memory", OutOfMemory),
        ("Non-zero status code", BackendFailure),
    ],
)
def test_a_batch_that_does_not_fit_is_told_from_other_failures(
    tiny: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, message: str, kind: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(message)

    backend = _load(tiny, cache)
    monkeypatch.setattr(backend, "_forward", fail)

    with pytest.raises(BackendFailure) as caught:
        backend.encode(TokenBatch.of([[1]]))

    assert type(caught.value) is kind
    assert caught.value.reason == f"RuntimeError: {message}"


def test_what_the_runtime_refuses_is_a_failure_of_the_backend(exact: OnnxBackend) -> None:
    with pytest.raises(BackendFailure) as caught:
        exact.encode(TokenBatch.of([[len(VOCABULARY)]]))

    assert "Gather" in caught.value.reason
