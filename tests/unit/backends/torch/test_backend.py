"""The vectors, memory and errors of the torch backend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from embedder.backends.torch.backend import TorchBackend
from embedder.backends.torch.packed import PackedForward
from embedder.core.errors import BackendFailure, OutOfMemory
from embedder.core.types import TokenBatch, Vectors
from tests.tiny_architectures import ARCHITECTURES
from tests.tiny_models import VOCABULARY
from tests.unit.backends.conftest import WriteModel
from tests.unit.backends.parity import FLOAT32, FORWARD_PASSES, POSITIONS, load, random_inputs

INPUTS = st.lists(
    st.lists(st.integers(0, len(VOCABULARY) - 1), min_size=1, max_size=POSITIONS),
    min_size=1,
    max_size=8,
)


def _encode_alone(backend: TorchBackend, inputs: list[list[int]]) -> Vectors:
    return np.concatenate([backend.encode(TokenBatch.of([ids])) for ids in inputs])


@pytest.fixture(scope="module")
def backend(tiny: Path) -> TorchBackend:
    return load(tiny)


@given(INPUTS, st.data())
def test_a_text_has_the_same_vector_in_any_batch_and_order(
    backend: TorchBackend, inputs: list[list[int]], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(inputs))))

    shuffled = backend.encode(TokenBatch.of([inputs[at] for at in order]))

    np.testing.assert_allclose(shuffled, _encode_alone(backend, inputs)[order], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", FORWARD_PASSES)
def test_every_forward_pass_gives_a_text_the_same_vector_alone(
    name: str, model_of: WriteModel
) -> None:
    backend = load(model_of(name))
    inputs = random_inputs(20)

    together = backend.encode(TokenBatch.of(inputs))

    np.testing.assert_allclose(together, _encode_alone(backend, inputs), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", FORWARD_PASSES)
def test_the_number_of_threads_changes_no_vector(name: str, model_of: WriteModel) -> None:
    inputs = TokenBatch.of(random_inputs(60))
    settings = FLOAT32.model_copy(update={"threads": 2})

    shared = load(model_of(name), settings).encode(inputs)

    alone = load(model_of(name), FLOAT32.model_copy(update={"threads": 1})).encode(inputs)
    np.testing.assert_allclose(shared, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", FORWARD_PASSES)
def test_an_empty_batch_has_no_vectors(name: str, model_of: WriteModel) -> None:
    backend = load(model_of(name))

    assert backend.encode(TokenBatch.of([])).shape == (0, backend.width)


def test_a_backend_describes_itself(backend: TorchBackend) -> None:
    assert (backend.name, backend.device, backend.dtype) == ("torch", "cpu", "float32")
    assert (backend.width, backend.padded, backend.max_batch_tokens) == (32, False, 2048)
    assert backend.notes == ()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_memory_bytes_is_the_size_of_the_weights(name: str, model_of: WriteModel) -> None:
    folded = ("pooler", "token_type") if ARCHITECTURES[name].packed else ()
    needed = sum(
        tensor.nbytes
        for path in model_of(name).rglob("*.safetensors")
        for tensor_name, tensor in load_file(path).items()
        if not any(part in tensor_name for part in folded)
    )

    held = load(model_of(name)).memory_bytes

    # The rest are tables of positions, frequencies or distances.
    assert needed <= held <= 1.05 * needed


@pytest.mark.parametrize(
    "failure",
    [
        torch.OutOfMemoryError("tried to allocate 9 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 GiB"),
        MemoryError("9 GiB"),
    ],
)
def test_out_of_memory_has_its_own_error(
    backend: TorchBackend, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def too_large(*_: object) -> torch.Tensor:
        raise failure

    monkeypatch.setattr(PackedForward, "__call__", too_large)

    with pytest.raises(OutOfMemory) as caught:
        backend.encode(TokenBatch.of([[1]]))

    assert "9 GiB" in caught.value.reason


@pytest.mark.parametrize("kind", [RuntimeError, IndexError, ValueError])
@pytest.mark.parametrize("count", [1, 200])
def test_other_errors_of_torch_are_backend_failures(
    backend: TorchBackend, monkeypatch: pytest.MonkeyPatch, kind: type[Exception], count: int
) -> None:
    """A large batch is computed in micro-batches by several threads."""

    def broken(*_: object) -> torch.Tensor:
        raise kind("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(PackedForward, "__call__", broken)

    with pytest.raises(BackendFailure) as caught:
        backend.encode(TokenBatch.of([[1] * 20] * count))

    assert type(caught.value) is BackendFailure
    assert caught.value.reason.startswith(f"{kind.__name__}: mat1")
