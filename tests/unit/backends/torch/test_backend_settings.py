"""The settings of the torch backend: number format, device and threads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from embedder.backends import precision
from embedder.core.errors import ConfigurationError
from embedder.core.types import TokenBatch
from embedder.settings.model import BackendSettings
from tests.tiny_models import write_tiny_bert
from tests.unit.backends.conftest import WriteModel
from tests.unit.backends.parity import FLOAT32, FORWARD_PASSES, cpu_settings, load, random_inputs


@pytest.mark.parametrize("name", FORWARD_PASSES)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_narrow_number_format_is_used_and_accurate(
    model_of: WriteModel, name: str, dtype: str
) -> None:
    tokens = TokenBatch.of(random_inputs(10))
    wide = load(model_of(name))
    exact = wide.encode(tokens)

    narrow = load(model_of(name), cpu_settings(dtype))
    near = narrow.encode(tokens)

    cosines = (exact * near).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(near, axis=1)
    assert narrow.dtype == dtype
    assert narrow.memory_bytes < 0.6 * wide.memory_bytes
    assert near.dtype == np.float32
    assert (near != exact).any()
    assert cosines.min() > 0.99


def test_an_unsupported_number_format_is_refused_by_name(tiny: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"backend\.dtype is 'int8'.*'onnx'"):
        load(tiny, cpu_settings("int8"))


@pytest.mark.parametrize(
    ("dtype", "huge", "error"),
    [
        # 1e6 exceeds float16; 3e38 exceeds float32 after a multiplication.
        ("float16", 1e6, r"backend\.dtype is 'float16'.* not finite"),
        ("float32", 3e38, "not finite"),
        ("auto", 3e38, "not finite"),
    ],
)
def test_a_model_whose_vectors_are_not_finite_is_refused(
    tmp_path: Path, dtype: str, huge: float, error: str
) -> None:
    path = write_tiny_bert(tmp_path) / "model.safetensors"
    tensors = load_file(path)
    tensors["encoder.layer.0.output.LayerNorm.weight"] *= huge
    save_file(tensors, path)

    with pytest.raises(ConfigurationError, match=error):
        load(tmp_path, cpu_settings(dtype))


@pytest.mark.parametrize("name", ["bert", "qwen3"])
@pytest.mark.parametrize(
    ("in_hardware", "least_cosine", "dtype", "note"),
    [
        (False, 0.0, "float32", "float32: this cpu has no bfloat16"),
        (True, 0.9, "bfloat16", "bfloat16: the cosine to float32 is 0.9"),
        (True, 1.1, "float32", "float32: in bfloat16, the cosine to float32 is 0.9"),
    ],
)
def test_auto_uses_bfloat16_if_the_hardware_has_it_and_it_is_accurate(
    model_of: WriteModel,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    in_hardware: bool,
    least_cosine: float,
    dtype: str,
    note: str,
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: in_hardware)
    monkeypatch.setattr(precision, "MIN_COSINE", least_cosine)

    loaded = load(model_of(name), BackendSettings(device="cpu"))

    assert loaded.dtype == dtype
    assert loaded.notes[-1].startswith(note)


def test_auto_compares_a_model_of_few_positions(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(precision, "MIN_COSINE", 0.9)

    assert load(tiny, BackendSettings(device="cpu")).dtype == "bfloat16"


def test_auto_uses_the_cpu_if_torch_has_no_other_device(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert load(tiny, BackendSettings(dtype="float32")).device == "cpu"


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_a_missing_device_is_refused_by_name(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    with pytest.raises(ConfigurationError, match=f"'{device}'"):
        load(tiny, BackendSettings(device=device))


def test_a_missing_gpu_number_is_refused_by_name(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    with pytest.raises(ConfigurationError, match="'cuda:7'"):
        load(tiny, BackendSettings(device="cuda:7", dtype="float32"))


def test_the_configured_number_of_threads_is_used(tiny: Path) -> None:
    load(tiny, FLOAT32.model_copy(update={"threads": 2}))

    assert torch.get_num_threads() == 2
