"""The onnx backend refuses what it does not compute, before anything is exported for it."""

from __future__ import annotations

import json
from pathlib import Path

import onnxruntime
import pytest

from embedder.backends.onnx.backend import OnnxBackend
from embedder.core.errors import ConfigurationError
from embedder.models.files import ModelFiles
from embedder.settings.model import BackendSettings, ModelSettings
from tests.tiny_models import write_json, write_layout


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Return a model that has no weights to export."""
    return write_layout(tmp_path)


def _load(directory: Path, device: str = "cpu", dtype: str = "float32") -> OnnxBackend:
    files = ModelFiles.open(ModelSettings(name=str(directory)))
    given = {"name": "onnx", "device": device, "dtype": dtype}
    return OnnxBackend.load(files, BackendSettings.model_validate(given))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_number_format_it_does_not_compute_is_refused_with_those_it_does(
    tiny: Path, dtype: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"backend\.dtype is '{dtype}'.*float32 and int8"):
        _load(tiny, dtype=dtype)


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_a_device_that_is_not_there_is_refused_by_name(tiny: Path, device: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"backend\.device is '{device}'.*has cpu$"):
        _load(tiny, device=device)


def _see_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)


@pytest.mark.parametrize(
    ("device", "dtype", "sentence"),
    [("mps", "float32", "has cpu and cuda"), ("cuda", "int8", "computes int8 on the cpu only")],
)
def test_what_a_gpu_does_not_do_is_refused(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, device: str, dtype: str, sentence: str
) -> None:
    _see_a_gpu(monkeypatch)

    with pytest.raises(ConfigurationError, match=sentence):
        _load(tiny, device=device, dtype=dtype)


def test_token_types_are_refused_with_the_backend_that_computes_them(tiny: Path) -> None:
    path = tiny / "tokenizer.json"
    state = json.loads(path.read_text())
    for piece in state["post_processor"]["single"]:
        next(iter(piece.values()))["type_id"] = 1
    write_json(path, state)
    names = ["input_ids", "token_type_ids", "attention_mask"]
    stated = {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": names}
    write_json(tiny / "tokenizer_config.json", stated)

    with pytest.raises(ConfigurationError, match=r"token types other than 0.*backend\.name to 'to"):
        _load(tiny)
