"""The size of a model is read from its headers and agrees with torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from embedder.core.errors import UnsupportedModel
from embedder.models.files import ModelFiles
from embedder.models.model_size import ModelShape, ModelSize
from embedder.settings.model import ModelSettings
from tests.tiny_models import BERT_CONFIG, write_layout, write_tiny_bert


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {
                "hidden_size": 8,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "intermediate_size": 16,
                "max_position_embeddings": 99,
            },
            ModelShape(layers=2, heads=4, width=8, inner=16, positions=99),
        ),
        (
            {"model_type": "distilbert", "dim": 8, "n_layers": 2, "n_heads": 4, "hidden_dim": 24},
            ModelShape(layers=2, heads=4, width=8, inner=24),
        ),
        (
            {"model_type": "t5", "d_model": 8, "num_layers": 2, "num_heads": 4, "d_ff": 20},
            ModelShape(layers=2, heads=4, width=8, inner=20, biased=True),
        ),
        (
            {"model_type": "gpt2", "n_embd": 8, "n_layer": 2, "n_head": 4, "n_inner": None},
            ModelShape(layers=2, heads=4, width=8, inner=32),
        ),
        (
            {"text_config": {"hidden_size": 8, "n_layers": 1, "n_heads": 2, "d_ff": 9}},
            ModelShape(layers=1, heads=2, width=8, inner=9),
        ),
    ],
)
def test_the_shape_is_found_under_every_architectures_names(
    config: dict[str, Any], expected: ModelShape
) -> None:
    assert ModelShape.of(config) == expected


def test_a_missing_dimension_is_refused_with_its_names() -> None:
    with pytest.raises(UnsupportedModel, match="hidden_size, dim, d_model"):
        ModelShape.of({"num_hidden_layers": 2})


def test_parameters_are_those_that_torch_has(tmp_path: Path) -> None:
    directory = write_tiny_bert(tmp_path)
    tensors = load_file(directory / "model.safetensors")

    size = ModelSize.of(ModelFiles.open(ModelSettings(name=str(directory))))

    matrices = {name: one for name, one in tensors.items() if not name.startswith("embeddings")}
    assert size.parameters == sum(one.numel() for one in tensors.values())
    assert size.matrix_parameters == sum(one.numel() for one in matrices.values())
    assert size.file_bytes == (directory / "model.safetensors").stat().st_size
    assert size.head_parameters == 0
    assert size.tokenizer_kind == "WordPiece"


def test_unused_tensors_are_not_counted(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM

    write_layout(tmp_path)
    model = BertForMaskedLM(BertConfig(**BERT_CONFIG))
    model.save_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    write_layout(tmp_path)

    size = ModelSize.of(ModelFiles.open(ModelSettings(name=str(tmp_path))))

    assert size.parameters == sum(one.numel() for one in model.bert.parameters())


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    write_layout(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 9)

    with pytest.raises(UnsupportedModel, match=r"model\.safetensors cannot be read"):
        ModelSize.of(ModelFiles.open(ModelSettings(name=str(tmp_path))))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"model": {"type": "Unigram"}}', "Unigram"),
        ('{"model": {"type": "BPE"}}', "BPE"),
        ('{"model": {"vocab": {}}}', "BPE"),
    ],
)
def test_the_algorithm_of_a_tokenizer_is_read_from_its_file(
    text: str, kind: str, tmp_path: Path
) -> None:
    directory = write_tiny_bert(tmp_path)
    (directory / "tokenizer.json").write_text(text)

    size = ModelSize.of(ModelFiles.open(ModelSettings(name=str(directory))))

    assert (size.tokenizer_kind, size.tokenizer_bytes) == (kind, len(text))
