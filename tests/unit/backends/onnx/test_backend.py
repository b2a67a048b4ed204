"""The onnx backend gives the vectors of transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.backends.onnx_backend import OnnxBackend
from embedder.backends.precision import min_cosine
from embedder.core.errors import BackendFailure, ConfigurationError, OutOfMemory
from embedder.core.types import TokenBatch
from tests.tiny_models import VOCABULARY
from tests.unit.backends.onnx.conftest import load_onnx, random_tokens
from tests.unit.backends.parity import POSITIONS, transformers_hidden_states

INPUTS = st.lists(
    st.lists(st.integers(0, len(VOCABULARY) - 1), min_size=1, max_size=POSITIONS),
    min_size=1,
    max_size=8,
)


def test_float32_equals_transformers_for_each_input_alone(tiny: Path, exact: OnnxBackend) -> None:
    tokens = random_tokens(40)
    hidden = transformers_hidden_states(tiny, [row.tolist() for row in tokens.rows()])
    rows = np.split(hidden, np.cumsum(tokens.lengths)[:-1])
    expected = np.stack([row.mean(axis=0) for row in rows])

    vectors = exact.encode(tokens)

    assert vectors.dtype == np.float32
    assert min_cosine(expected, vectors) > 0.99999
    np.testing.assert_allclose(vectors, expected, atol=1e-5, rtol=0)


def test_int8_is_accurate(exact: OnnxBackend, narrow: OnnxBackend) -> None:
    tokens = random_tokens(100)

    near, expected = narrow.encode(tokens), exact.encode(tokens)

    assert min_cosine(expected, near) > 0.99
    assert (near != expected).any()


@given(INPUTS, st.data())
def test_a_text_has_the_same_vector_in_any_batch_and_order(
    exact: OnnxBackend, narrow: OnnxBackend, inputs: list[list[int]], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(inputs))))
    for backend, tolerance in ((exact, 1e-5), (narrow, 0.05)):
        alone = np.concatenate([backend.encode(TokenBatch.of([ids])) for ids in inputs])

        shuffled = backend.encode(TokenBatch.of([inputs[at] for at in order]))

        np.testing.assert_allclose(shuffled, alone[order], atol=tolerance, rtol=0)


def test_the_pooling_is_that_of_the_layout(tiny: Path, cache: Path, exact: OnnxBackend) -> None:
    tokens = TokenBatch.of([[5, 6, 7]])

    first = load_onnx(tiny, cache, pooling="cls").encode(tokens)

    assert (first != exact.encode(tokens)).any()


def test_an_empty_batch_has_no_vectors(exact: OnnxBackend) -> None:
    assert exact.encode(TokenBatch.of([])).shape == (0, exact.width)


def test_a_backend_describes_itself(exact: OnnxBackend, narrow: OnnxBackend) -> None:
    assert (exact.name, exact.device, exact.dtype) == ("onnx", "cpu", "float32")
    assert (exact.width, exact.padded, exact.max_batch_tokens) == (32, False, 2048)
    assert narrow.dtype == "int8"
    assert 0 < narrow.memory_bytes < exact.memory_bytes


def test_the_configured_threads_are_used_and_do_not_spin(tiny: Path, cache: Path) -> None:
    options = load_onnx(tiny, cache, threads=1)._forward.session.get_session_options()

    assert options.intra_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.usefixtures("gpu")
def test_int8_uses_the_cpu_although_there_is_a_gpu(tiny: Path, cache: Path) -> None:
    assert load_onnx(tiny, cache, device="auto", dtype="int8").device == "cpu"


@pytest.mark.usefixtures("gpu")
def test_a_gpu_that_onnxruntime_does_not_use_is_refused(
    tiny: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OnCpu:
        """A session for which CUDA could not be loaded."""

        def __init__(self, *_: object, **__: object) -> None:
            pass

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "InferenceSession", OnCpu)

    with pytest.raises(ConfigurationError, match="'cuda', which onnxruntime cannot use"):
        load_onnx(tiny, cache, device="cuda")


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Failed to allocate memory for requested buffer of size 9", OutOfMemory),
        ("std::bad_alloc", OutOfMemory),
        ("CUDA failure 2: out of memory", OutOfMemory),
        ("Non-zero status code", BackendFailure),
    ],
)
def test_out_of_memory_has_its_own_error(
    tiny: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, message: str, kind: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(message)

    backend = load_onnx(tiny, cache)
    monkeypatch.setattr(backend, "_forward", fail)

    with pytest.raises(BackendFailure) as caught:
        backend.encode(TokenBatch.of([[1]]))

    assert type(caught.value) is kind
    assert caught.value.reason == f"RuntimeError: {message}"


def test_an_error_of_onnxruntime_is_a_backend_failure(exact: OnnxBackend) -> None:
    with pytest.raises(BackendFailure) as caught:
        exact.encode(TokenBatch.of([[len(VOCABULARY)]]))

    assert "Gather" in caught.value.reason
