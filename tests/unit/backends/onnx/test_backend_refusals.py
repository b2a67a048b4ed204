"""The onnx backend refuses unsupported settings before it exports a graph."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from embedder.backends.onnx_backend import OnnxBackend
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
def test_an_unsupported_number_format_is_refused_with_the_supported_ones(
    tiny: Path, dtype: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"backend\.dtype is '{dtype}'.*float32 and int8"):
        _load(tiny, dtype=dtype)


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_a_missing_device_is_refused_by_name(tiny: Path, device: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"backend\.device is '{device}'.*supports cpu$"):
        _load(tiny, device=device)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    ("device", "dtype", "sentence"),
    [
        ("mps", "float32", "supports cpu and cuda"),
        ("cuda", "int8", "computes int8 on the cpu only"),
    ],
)
def test_unsupported_settings_for_a_gpu_are_refused(
    tiny: Path, device: str, dtype: str, sentence: str
) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        _load(tiny, device=device, dtype=dtype)


def test_token_types_are_refused_with_the_backend_that_supports_them(tiny: Path) -> None:
    path = tiny / "tokenizer.json"
    state = json.loads(path.read_text())
    for token in state["post_processor"]["single"]:
        next(iter(token.values()))["type_id"] = 1
    write_json(path, state)
    names = ["input_ids", "token_type_ids", "attention_mask"]
    stated = {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": names}
    write_json(tiny / "tokenizer_config.json", stated)

    with pytest.raises(ConfigurationError, match=r"token types other than 0.*backend\.name to 'to"):
        _load(tiny)
