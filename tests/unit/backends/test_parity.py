"""The vectors of a directory equal those of sentence-transformers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from embedder.models.heads.dense import ACTIVATIONS
from tests.tiny_architectures import (
    ARCHITECTURES,
    MAX_TOKENS,
    Architecture,
    mixed_texts,
    write_architecture,
    write_dense,
    write_encoder,
    write_pooling,
)
from tests.tiny_models import write_json, write_modules
from tests.unit.backends.conftest import WriteModel
from tests.unit.backends.parity import assert_same, load, open_files, our_vectors, reference_vectors

FLAGS = (
    "pooling_mode_cls_token",
    "pooling_mode_lasttoken",
    "pooling_mode_max_tokens",
    "pooling_mode_mean_sqrt_len_tokens",
    "pooling_mode_mean_tokens",
    "pooling_mode_weightedmean_tokens",
)
WIDTH = 32
MODULES = [("", "Transformer"), ("1_Pooling", "Pooling")]
TEXTS = mixed_texts(ARCHITECTURES["bert"], 15)


def _with_pooling(directory: Path, tmp_path: Path, *flags: str) -> Path:
    """Copy a transformer, with one pooling module after it."""
    copy = shutil.copytree(
        directory, tmp_path / "copy", ignore=shutil.ignore_patterns("[0-9]_*", "modules.json")
    )
    write_pooling(copy / "1_Pooling", WIDTH, *flags)
    write_modules(copy, MODULES)
    return copy


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_has_the_same_vectors(name: str, model_of: WriteModel) -> None:
    texts = mixed_texts(ARCHITECTURES[name])
    directory = model_of(name)

    assert_same(our_vectors(directory, texts), reference_vectors(directory, texts))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_only_architectures_without_packed_forward_are_padded(
    name: str, model_of: WriteModel
) -> None:
    notes = load(model_of(name)).notes

    assert any("padded blocks" in note for note in notes) is not ARCHITECTURES[name].packed


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("name", ["bert", "qwen3"])
def test_every_pooling_is_the_same(
    name: str, flag: str, model_of: WriteModel, tmp_path: Path
) -> None:
    directory = _with_pooling(model_of(name), tmp_path, flag)

    assert_same(our_vectors(directory, TEXTS), reference_vectors(directory, TEXTS))


@pytest.mark.parametrize("name", ["bert", "modernbert"])
def test_concatenated_poolings_are_the_same(
    name: str, model_of: WriteModel, tmp_path: Path
) -> None:
    flags = ("pooling_mode_max_tokens", "pooling_mode_cls_token")
    directory = _with_pooling(model_of(name), tmp_path, *flags)

    found = our_vectors(directory, TEXTS)

    assert found.shape[1] == 2 * WIDTH
    assert_same(found, reference_vectors(directory, TEXTS))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("bias", [True, False])
def test_a_dense_module_is_the_same_with_every_activation(
    activation: str, bias: bool, model_of: WriteModel, tmp_path: Path
) -> None:
    directory = _with_pooling(model_of("bert"), tmp_path, "pooling_mode_mean_tokens")
    write_dense(directory / "2_Dense", WIDTH, 20, activation=activation, bias=bias)
    write_dense(directory / "3_Dense", 20, 12)
    write_modules(directory, [*MODULES, ("2_Dense", "Dense"), ("3_Dense", "Dense")])

    found = our_vectors(directory, TEXTS)

    assert found.shape[1] == 12
    assert_same(found, reference_vectors(directory, TEXTS))


@pytest.mark.parametrize("name", ["t5", "roberta"])
def test_a_directory_that_sentence_transformers_saved_is_the_same(
    name: str, model_of: WriteModel, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    SentenceTransformer(str(model_of(name)), device="cpu").save(str(tmp_path / "saved"))

    assert_same(our_vectors(tmp_path / "saved", TEXTS), reference_vectors(model_of(name), TEXTS))


def test_a_directory_with_the_transformer_in_a_folder_of_its_own_is_the_same(
    tmp_path: Path,
) -> None:
    write_encoder(tmp_path / "0_Transformer", ARCHITECTURES["bert"])
    write_pooling(tmp_path / "1_Pooling", WIDTH, "pooling_mode_mean_tokens")
    write_modules(tmp_path, [("0_Transformer", "Transformer"), ("1_Pooling", "Pooling")])

    assert_same(our_vectors(tmp_path, TEXTS), reference_vectors(tmp_path, TEXTS))


@pytest.mark.parametrize("name", ["xlm-roberta", "nomic_bert"])
def test_an_encoder_without_modules_is_pooled_by_the_mean(name: str, tmp_path: Path) -> None:
    write_encoder(tmp_path, ARCHITECTURES[name])

    found = our_vectors(tmp_path, TEXTS)

    assert open_files(tmp_path).pooling == "mean"
    assert_same(found, reference_vectors(tmp_path, TEXTS))


@pytest.mark.parametrize("name", ["bert", "modernbert"])
def test_weights_in_shards_are_the_same(name: str, model_of: WriteModel, tmp_path: Path) -> None:
    directory = write_architecture(tmp_path, ARCHITECTURES[name], max_shard_size="40KB")

    assert len(open_files(directory).weights) > 1
    assert_same(our_vectors(directory, TEXTS), our_vectors(model_of(name), TEXTS))


def test_texts_that_fill_every_position_are_the_same(tmp_path: Path) -> None:
    """RoBERTa has two positions more than texts may have tokens."""
    small = Architecture(
        "roberta",
        ARCHITECTURES["roberta"].special,
        "<s> $A </s>",
        {**ARCHITECTURES["roberta"].numbers, "max_position_embeddings": 34},
    )
    directory = write_architecture(tmp_path, small)
    write_json(directory / "sentence_bert_config.json", {"max_seq_length": 32})
    texts = ["ab " * MAX_TOKENS, "ab " * 15, "a"]

    assert open_files(directory).max_tokens == 32
    assert_same(our_vectors(directory, texts), reference_vectors(directory, texts))
