"""The models loaded through transformers, and those that are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel
from transformers.utils import logging

from embedder.backends.pretrained import load_pretrained
from embedder.core.errors import UnsupportedModel
from tests.tiny_architectures import ARCHITECTURES, write_encoder
from tests.tiny_models import write_layout, write_tiny_bert
from tests.unit.backends.conftest import WriteModel
from tests.unit.backends.parity import open_files


def _load(directory: Path) -> PreTrainedModel:
    return load_pretrained(open_files(directory), dtype=torch.float32, device=torch.device("cpu"))


def test_a_model_is_in_evaluation_mode(model_of: WriteModel) -> None:
    model = _load(model_of("qwen3"))

    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert model.config.use_cache is False


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"model_type": "of-another-world"}, "'of-another-world'"),
        ({"model_type": "bart"}, "'bart'.*encoder"),
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"hidden_act": "relu", "position_embedding_type": "relative_key"}, "'relative_key'"),
    ],
)
def test_an_unsupported_config_is_refused_with_its_value(
    tmp_path: Path, config: dict[str, str], named: str
) -> None:
    write_tiny_bert(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**written, **config}))

    with pytest.raises(UnsupportedModel, match=named):
        _load(tmp_path)


def test_a_missing_weight_is_refused_by_name(tmp_path: Path) -> None:
    path = write_encoder(tmp_path, ARCHITECTURES["qwen3"]) / "model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("layers.1.mlp.down_proj.weight"))
    del tensors[name]
    save_file(tensors, path, metadata={"format": "pt"})

    with pytest.raises(UnsupportedModel, match=r"layers\.1\.mlp\.down_proj"):
        _load(tmp_path)


def test_a_weight_of_another_shape_is_refused_by_name(tmp_path: Path) -> None:
    path = write_encoder(tmp_path, ARCHITECTURES["modernbert"]) / "model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("layers.1.mlp.Wo.weight"))
    tensors[name] = tensors[name][:, :-1].contiguous()
    save_file(tensors, path, metadata={"format": "pt"})

    with pytest.raises(UnsupportedModel, match=r"layers\.1\.mlp\.Wo"):
        _load(tmp_path)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = write_encoder(tmp_path, ARCHITECTURES["qwen3"]) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])

    with pytest.raises(UnsupportedModel, match="'qwen3'"):
        _load(tmp_path)


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    write_layout(tmp_path, hidden_act="relu")
    files = open_files(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR.")

    with pytest.raises(UnsupportedModel, match=r"safetensors"):
        load_pretrained(files, dtype=torch.float32, device=torch.device("cpu"))


def test_loading_prints_nothing_and_restores_the_logging_of_transformers(
    model_of: WriteModel, capfd: pytest.CaptureFixture[str]
) -> None:
    directory = model_of("bert")
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    capfd.readouterr()

    _load(directory)

    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    assert capfd.readouterr() == ("", "")
