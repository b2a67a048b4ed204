"""The torch backend computes what transformers computes, however texts are batched."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from embedder.backends import torch as torch_backend
from embedder.backends.base import load_backend
from embedder.backends.bert import Bert
from embedder.backends.torch import TorchBackend
from embedder.config import BackendSettings, ModelSettings, PoolingName
from embedder.errors import ConfigurationError, OutOfMemory, UnsupportedModel
from embedder.models.files import ModelFiles
from embedder.types import TokenBatch, Vectors
from tests.tiny_models import BERT_CONFIG, VOCABULARY, write_layout, write_tiny_bert

POSITIONS = int(BERT_CONFIG["max_position_embeddings"])
INPUTS = st.lists(
    st.lists(st.integers(0, len(VOCABULARY) - 1), min_size=1, max_size=POSITIONS),
    min_size=1,
    max_size=8,
)
FLOAT32 = BackendSettings(device="cpu", dtype="float32")


def _load(
    directory: Path, settings: BackendSettings = FLOAT32, pooling: PoolingName | None = None
) -> TorchBackend:
    files = ModelFiles.open(ModelSettings(name=str(directory), pooling=pooling))
    return TorchBackend.load(files, settings)


def _transformers_hidden(directory: Path, inputs: list[list[int]]) -> list[NDArray[np.float32]]:
    """Return the last hidden state of every input by itself, as transformers computes it."""
    from transformers import BertModel

    model = BertModel.from_pretrained(
        directory, add_pooling_layer=False, attn_implementation="eager"
    ).eval()
    with torch.inference_mode():
        return [model(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy() for ids in inputs]


def _random_inputs(count: int) -> list[list[int]]:
    numbers = np.random.default_rng(1)
    return [
        numbers.integers(0, len(VOCABULARY), size=numbers.integers(1, POSITIONS + 1)).tolist()
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("tiny-bert"))


@pytest.fixture(scope="module")
def backend(tiny: Path) -> TorchBackend:
    return _load(tiny)


def test_packed_texts_have_the_vectors_that_transformers_gives_each_alone(
    tiny: Path, backend: TorchBackend
) -> None:
    inputs = [[5], [6, 7], list(range(POSITIONS)), *_random_inputs(30)]
    expected = [hidden.mean(axis=0) for hidden in _transformers_hidden(tiny, inputs)]

    vectors = backend.encode(TokenBatch.of(inputs))

    assert vectors.dtype == np.float32
    assert vectors.shape == (len(inputs), backend.width)
    np.testing.assert_allclose(vectors, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("activation", ["gelu_new", "gelu_pytorch_tanh"])
def test_the_approximate_gelus_are_those_of_transformers(tmp_path: Path, activation: str) -> None:
    directory = write_tiny_bert(tmp_path, hidden_act=activation, layer_norm_eps=1e-3)
    inputs = _random_inputs(5)
    expected = [hidden[0] for hidden in _transformers_hidden(directory, inputs)]

    vectors = _load(directory, pooling="cls").encode(TokenBatch.of(inputs))

    np.testing.assert_allclose(vectors, expected, atol=1e-5, rtol=0)


def test_a_checkpoint_with_a_task_head_is_the_same_model(
    tiny: Path, backend: TorchBackend, tmp_path: Path
) -> None:
    tensors = load_file(tiny / "model.safetensors")
    save_file(
        {f"bert.{name}": tensor for name, tensor in tensors.items()},
        write_layout(tmp_path) / "model.safetensors",
    )
    tokens = TokenBatch.of(_random_inputs(5))

    assert (_load(tmp_path).encode(tokens) == backend.encode(tokens)).all()


def _encode_alone(backend: TorchBackend, inputs: list[list[int]]) -> Vectors:
    return np.concatenate([backend.encode(TokenBatch.of([ids])) for ids in inputs])


@given(INPUTS, st.data())
def test_a_text_has_the_same_vector_in_any_company_and_order(
    backend: TorchBackend, inputs: list[list[int]], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(inputs))))

    shuffled = backend.encode(TokenBatch.of([inputs[at] for at in order]))

    np.testing.assert_allclose(shuffled, _encode_alone(backend, inputs)[order], atol=1e-5, rtol=0)


def test_no_texts_have_no_vectors(backend: TorchBackend) -> None:
    assert backend.encode(TokenBatch.of([])).shape == (0, backend.width)


def test_a_backend_says_what_it_is(tiny: Path) -> None:
    files = ModelFiles.open(ModelSettings(name=str(tiny)))

    loaded = load_backend(files, FLOAT32)

    assert (loaded.name, loaded.device, loaded.dtype) == ("torch", "cpu", "float32")
    assert (loaded.width, loaded.padded, loaded.max_batch_tokens) == (32, False, 2048)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_narrow_number_format_is_used_and_stays_near(
    tiny: Path, backend: TorchBackend, dtype: str
) -> None:
    tokens = TokenBatch.of(_random_inputs(10))
    exact = backend.encode(tokens)

    narrow = _load(tiny, BackendSettings.model_validate({"device": "cpu", "dtype": dtype}))
    near = narrow.encode(tokens)

    cosines = (exact * near).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(near, axis=1)
    assert narrow.dtype == dtype
    assert near.dtype == np.float32
    assert (near != exact).any()
    assert cosines.min() > 0.99


@pytest.mark.parametrize(
    ("in_hardware", "least_cosine", "dtype"),
    [(False, 0.0, "float32"), (True, 0.9, "bfloat16"), (True, 1.1, "float32")],
)
def test_auto_leaves_float32_only_where_the_hardware_can_and_the_probe_agrees(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    in_hardware: bool,
    least_cosine: float,
    dtype: str,
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: in_hardware)
    monkeypatch.setattr(torch_backend, "PROBE_COSINE", least_cosine)
    directory = write_tiny_bert(tmp_path, max_position_embeddings=128)

    assert _load(directory, BackendSettings(device="cpu")).dtype == dtype


def test_auto_probes_a_model_of_few_positions_within_them(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch_backend, "PROBE_COSINE", 0.9)

    assert _load(tiny, BackendSettings(device="cpu")).dtype == "bfloat16"


def test_auto_takes_the_cpu_where_torch_sees_no_other_device(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert _load(tiny, BackendSettings(dtype="float32")).device == "cpu"


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_a_device_that_is_not_there_is_refused_by_name(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    with pytest.raises(ConfigurationError, match=f"'{device}'"):
        _load(tiny, BackendSettings(device=device))


def test_a_gpu_beyond_those_of_the_machine_is_refused_by_name(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    with pytest.raises(ConfigurationError, match="'cuda:7'"):
        _load(tiny, BackendSettings(device="cuda:7", dtype="float32"))


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "distilbert"},
        {"hidden_act": "relu"},
        {"position_embedding_type": "relative_key"},
    ],
)
def test_a_model_without_a_forward_pass_here_is_refused_by_what_it_is(
    tmp_path: Path, config: dict[str, str]
) -> None:
    write_layout(tmp_path, **config)

    with pytest.raises(UnsupportedModel, match=next(iter(config.values()))):
        _load(tmp_path)


@pytest.mark.parametrize("missing", ["num_hidden_layers", "num_attention_heads", "hidden_size"])
def test_a_config_that_leaves_out_a_number_of_the_shape_is_refused_by_its_name(
    tmp_path: Path, missing: str
) -> None:
    config = json.loads((write_layout(tmp_path) / "config.json").read_text())
    del config[missing]
    (tmp_path / "config.json").write_text(json.dumps(config))

    with pytest.raises(UnsupportedModel, match=missing):
        _load(tmp_path)


def test_a_batch_that_does_not_fit_is_told_from_other_failures(
    backend: TorchBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("tried to allocate 9 GiB")

    monkeypatch.setattr(Bert, "__call__", too_large)

    with pytest.raises(OutOfMemory) as caught:
        backend.encode(TokenBatch.of([[1]]))

    assert "9 GiB" in caught.value.reason


def test_the_threads_asked_for_are_the_threads_used(tiny: Path) -> None:
    before = torch.get_num_threads()
    try:
        _load(tiny, BackendSettings(device="cpu", dtype="float32", threads=1))

        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
