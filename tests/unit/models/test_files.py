"""The properties of a whole model directory."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from embedder.core.errors import UnsupportedModel
from embedder.models.catalogue import CATALOGUE
from embedder.models.files import ModelFiles
from embedder.models.weights import WEIGHTS
from embedder.settings.model import ModelSettings
from tests.tiny_models import BERT_CONFIG, VOCABULARY, write_json
from tests.unit.models.model_sources import ROW, FakeSources, digest_of, fill, open_files

STATED = "config_sentence_transformers.json"
IDENTITY = "torch.nn.modules.linear.Identity"
TANH = "torch.nn.modules.activation.Tanh"


def test_the_default_model_has_its_published_properties() -> None:
    row = CATALOGUE[0]

    files = ModelFiles.open(ModelSettings(offline=True))

    assert (files.name, files.source.repository, files.source.revision) == (
        row.alias,
        row.repository,
        row.revision,
    )
    assert (files.pooling, files.max_tokens, files.vocabulary_size) == ("mean", 256, 30_522)
    assert (files.prompts, files.default_prompt, files.similarity) == ({}, None, "cosine")
    assert (files.lower_case, files.layout.notes, files.layout.normalizes) == (False, (), True)
    assert files.digest == row.sha256


def test_a_local_directory_is_identified_by_its_name_and_weights(tiny: Path) -> None:
    files = open_files(tiny)

    assert (files.name, files.source.repository, files.source.revision) == ("tiny", "tiny", "local")
    assert files.weights == (tiny / WEIGHTS,)
    assert files.tokenizer == tiny / "tokenizer.json"
    assert files.digest == digest_of(b"weights")
    assert files.vocabulary_size == len(VOCABULARY)
    assert files.config["hidden_size"] == BERT_CONFIG["hidden_size"]


def test_the_configured_alias_is_the_models_name(tiny: Path) -> None:
    assert open_files(tiny, alias="house model").name == "house model"


def test_several_poolings_are_joined_by_plus_signs(tiny: Path) -> None:
    write_json(tiny / "1_Pooling" / "config.json", {"pooling_mode": ["mean", "cls"]})

    assert open_files(tiny).pooling == "mean+cls"
    assert open_files(tiny, pooling="last").pooling == "last"


def test_an_assumed_pooling_is_noted(tiny: Path) -> None:
    (tiny / "modules.json").unlink()

    assert open_files(tiny).layout.notes == ("no modules.json: mean pooling is assumed",)
    assert open_files(tiny, pooling="mean").layout.notes == ()


def test_a_plain_model_is_pooled_as_its_row_says(sources: FakeSources) -> None:
    (sources.fill_hub_cache() / "modules.json").unlink()

    assert open_files("tiny").pooling == ROW.pooling == "cls"


def test_matryoshka_widths_come_from_the_settings_or_the_row(
    sources: FakeSources,
) -> None:
    sources.set_row(replace(ROW, matryoshka=(32, 16)))
    sources.fill_hub_cache()

    assert open_files("tiny").matryoshka == (32, 16)
    assert open_files("tiny", matryoshka=(8,)).matryoshka == (8,)
    assert open_files("tiny", matryoshka=()).matryoshka == ()


def test_matryoshka_widths_of_a_directory_come_from_the_settings(tiny: Path) -> None:
    assert open_files(tiny).matryoshka == ()
    assert open_files(tiny, matryoshka=(16,)).matryoshka == (16,)


def test_a_plain_decoder_is_pooled_by_its_last_token(tiny: Path) -> None:
    (tiny / "modules.json").unlink()
    write_json(tiny / "config.json", {**BERT_CONFIG, "architectures": ["LlamaForCausalLM"]})

    assert open_files(tiny).pooling == "last"


def test_the_transformer_s_folder_holds_its_files(tmp_path: Path) -> None:
    transformer = fill(tmp_path / "tiny" / "0_Transformer")
    (transformer / "1_Pooling").rename(tmp_path / "tiny" / "1_Pooling")
    modules = json.loads((transformer / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    write_json(tmp_path / "tiny" / "modules.json", modules)

    files = open_files(tmp_path / "tiny")

    assert (files.weights, files.max_tokens) == ((transformer / WEIGHTS,), 24)
    assert files.tokenizer == transformer / "tokenizer.json"


def test_a_config_that_points_to_unverified_weights_is_refused(tiny: Path) -> None:
    write_json(tiny / "config.json", {**BERT_CONFIG, "transformers_weights": "x.safetensors"})

    with pytest.raises(UnsupportedModel, match=r"'transformers_weights' = 'x\.safetensors'"):
        open_files(tiny)


def test_an_adapter_that_would_be_loaded_over_the_weights_is_refused(tiny: Path) -> None:
    write_json(tiny / "adapter_config.json", {"base_model_name_or_path": "someone/else"})

    with pytest.raises(UnsupportedModel, match="holds an adapter"):
        open_files(tiny)


@pytest.mark.parametrize("missing", ["config.json", "1_Pooling/config.json"])
def test_a_missing_file_is_named(tiny: Path, missing: str) -> None:
    (tiny / missing).unlink()

    with pytest.raises(UnsupportedModel, match=re.escape(str((tiny / missing).parent))):
        open_files(tiny)
