"""The torch backend: devices, number formats, the probe between them, and torch's errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from embedder.backends.torch import backend as torch_backend
from embedder.backends.torch.backend import TorchBackend
from embedder.backends.torch.packed import PackedForward
from embedder.core.errors import BackendFailure, ConfigurationError, OutOfMemory
from embedder.core.types import TokenBatch, Vectors
from embedder.settings.model import BackendSettings
from tests.tiny_architectures import ARCHITECTURES
from tests.tiny_models import BERT_CONFIG, PIECES, VOCABULARY, write_tiny_bert
from tests.unit.backends.conftest import WriteModel
from tests.unit.backends.parity import FLOAT32, load

POSITIONS = int(BERT_CONFIG["max_position_embeddings"])
INPUTS = st.lists(
    st.lists(st.integers(0, len(VOCABULARY) - 1), min_size=1, max_size=POSITIONS),
    min_size=1,
    max_size=8,
)
ONE_OF_EACH_FORWARD = ("bert", "mpnet", "modernbert", "qwen3")


def _settings(dtype: str) -> BackendSettings:
    return BackendSettings.model_validate({"device": "cpu", "dtype": dtype})


def _random_inputs(count: int) -> list[list[int]]:
    numbers = np.random.default_rng(1)
    return [
        numbers.integers(0, len(PIECES), size=numbers.integers(1, POSITIONS + 1)).tolist()
        for _ in range(count)
    ]


def _encode_alone(backend: TorchBackend, inputs: list[list[int]]) -> Vectors:
    return np.concatenate([backend.encode(TokenBatch.of([ids])) for ids in inputs])


@pytest.fixture(scope="module")
def backend(tiny: Path) -> TorchBackend:
    return load(tiny)


@given(INPUTS, st.data())
def test_a_text_has_the_same_vector_in_any_company_and_order(
    backend: TorchBackend, inputs: list[list[int]], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(inputs))))

    shuffled = backend.encode(TokenBatch.of([inputs[at] for at in order]))

    np.testing.assert_allclose(shuffled, _encode_alone(backend, inputs)[order], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ONE_OF_EACH_FORWARD)
def test_every_forward_pass_gives_a_text_alone_what_it_gives_it_in_a_batch(
    name: str, model_of: WriteModel
) -> None:
    backend = load(model_of(name))
    inputs = _random_inputs(20)

    together = backend.encode(TokenBatch.of(inputs))

    np.testing.assert_allclose(together, _encode_alone(backend, inputs), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ONE_OF_EACH_FORWARD)
def test_threads_change_no_vector(name: str, model_of: WriteModel) -> None:
    inputs = TokenBatch.of(_random_inputs(60))
    settings = FLOAT32.model_copy(update={"threads": 2})

    shared = load(model_of(name), settings).encode(inputs)

    alone = load(model_of(name), FLOAT32.model_copy(update={"threads": 1})).encode(inputs)
    np.testing.assert_allclose(shared, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ONE_OF_EACH_FORWARD)
def test_no_texts_have_no_vectors(name: str, model_of: WriteModel) -> None:
    backend = load(model_of(name))

    assert backend.encode(TokenBatch.of([])).shape == (0, backend.width)


def test_a_backend_says_what_it_is(backend: TorchBackend) -> None:
    assert (backend.name, backend.device, backend.dtype) == ("torch", "cpu", "float32")
    assert (backend.width, backend.padded, backend.max_batch_tokens) == (32, False, 2048)
    assert backend.notes == ()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_memory_of_a_model_is_that_of_the_weights_it_needs(
    name: str, model_of: WriteModel
) -> None:
    folded = ("pooler", "token_type") if ARCHITECTURES[name].packed else ()
    needed = sum(
        tensor.nbytes
        for path in model_of(name).rglob("*.safetensors")
        for tensor_name, tensor in load_file(path).items()
        if not any(part in tensor_name for part in folded)
    )

    held = load(model_of(name)).memory_bytes

    # Beside them are tables of positions, frequencies or distances.
    assert needed <= held <= 1.05 * needed


@pytest.mark.parametrize("name", ONE_OF_EACH_FORWARD)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_narrow_number_format_is_used_and_stays_near(
    model_of: WriteModel, name: str, dtype: str
) -> None:
    tokens = TokenBatch.of(_random_inputs(10))
    wide = load(model_of(name))
    exact = wide.encode(tokens)

    narrow = load(model_of(name), _settings(dtype))
    near = narrow.encode(tokens)

    cosines = (exact * near).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(near, axis=1)
    assert narrow.dtype == dtype
    assert narrow.memory_bytes < 0.6 * wide.memory_bytes
    assert near.dtype == np.float32
    assert (near != exact).any()
    assert cosines.min() > 0.99


def test_a_number_format_that_torch_does_not_compute_is_refused_by_name(tiny: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"backend\.dtype is 'int8'.*'onnx'"):
        load(tiny, _settings("int8"))


@pytest.mark.parametrize(
    ("dtype", "huge", "error"),
    [
        # Above the largest number of float16, and above that of float32 once it is multiplied.
        ("float16", 1e6, r"backend\.dtype is 'float16'.* not finite"),
        ("float32", 3e38, "not finite"),
        ("auto", 3e38, "not finite"),
    ],
)
def test_a_model_whose_values_are_not_finite_is_refused(
    tmp_path: Path, dtype: str, huge: float, error: str
) -> None:
    path = write_tiny_bert(tmp_path) / "model.safetensors"
    tensors = load_file(path)
    tensors["encoder.layer.0.output.LayerNorm.weight"] *= huge
    save_file(tensors, path)

    with pytest.raises(ConfigurationError, match=error):
        load(tmp_path, _settings(dtype))


@pytest.mark.parametrize("name", ["bert", "qwen3"])
@pytest.mark.parametrize(
    ("in_hardware", "least_cosine", "dtype", "note"),
    [
        (False, 0.0, "float32", "float32: cpu here has no bfloat16"),
        (True, 0.9, "bfloat16", "bfloat16: a probe agrees with float32 to 0.9"),
        (True, 1.1, "float32", "float32: with bfloat16 a probe agrees to 0.9"),
    ],
)
def test_auto_leaves_float32_only_where_the_hardware_can_and_the_probe_agrees(
    model_of: WriteModel,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    in_hardware: bool,
    least_cosine: float,
    dtype: str,
    note: str,
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: in_hardware)
    monkeypatch.setattr(torch_backend, "MIN_COSINE", least_cosine)

    loaded = load(model_of(name), BackendSettings(device="cpu"))

    assert loaded.dtype == dtype
    assert loaded.notes[-1].startswith(note)


def test_auto_probes_a_model_of_few_positions_within_them(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch_backend, "MIN_COSINE", 0.9)

    assert load(tiny, BackendSettings(device="cpu")).dtype == "bfloat16"


def test_auto_takes_the_cpu_where_torch_sees_no_other_device(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert load(tiny, BackendSettings(dtype="float32")).device == "cpu"


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_a_device_that_is_not_there_is_refused_by_name(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    with pytest.raises(ConfigurationError, match=f"'{device}'"):
        load(tiny, BackendSettings(device=device))


def test_a_gpu_beyond_those_of_the_machine_is_refused_by_name(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    with pytest.raises(ConfigurationError, match="'cuda:7'"):
        load(tiny, BackendSettings(device="cuda:7", dtype="float32"))


@pytest.mark.parametrize(
    "failure",
    [
        torch.OutOfMemoryError("tried to allocate 9 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 GiB"),
        MemoryError("9 GiB"),
    ],
)
def test_a_batch_that_does_not_fit_is_told_from_other_failures(
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
def test_other_failures_of_torch_are_failures_of_the_backend(
    backend: TorchBackend, monkeypatch: pytest.MonkeyPatch, kind: type[Exception], count: int
) -> None:
    """A large batch is computed in pieces, by several threads."""

    def broken(*_: object) -> torch.Tensor:
        raise kind("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(PackedForward, "__call__", broken)

    with pytest.raises(BackendFailure) as caught:
        backend.encode(TokenBatch.of([[1] * 20] * count))

    assert type(caught.value) is BackendFailure
    assert caught.value.reason.startswith(f"{kind.__name__}: mat1")


def test_the_threads_asked_for_are_the_threads_used(tiny: Path) -> None:
    load(tiny, FLOAT32.model_copy(update={"threads": 2}))

    assert torch.get_num_threads() == 2
