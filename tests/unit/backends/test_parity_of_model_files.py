"""The files of a model mean the same as in sentence-transformers, or are refused by key."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from embedder.core.errors import UnsupportedModel
from tests.tiny_architectures import ARCHITECTURES, Architecture, mixed_texts, write_architecture
from tests.tiny_models import write_json
from tests.unit.backends.conftest import WriteModel
from tests.unit.backends.parity import assert_same, load, our_vectors, reference_vectors

TYPED = ["input_ids", "token_type_ids", "attention_mask"]
XLNET = Architecture(
    "xlnet",
    ("<unk>", "<sep>", "<cls>", "<pad>"),
    "$A:0 <sep>:0 <cls>:2",
    {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48, "pad_token_id": 3},
)

Copy = Callable[[str], Path]


@pytest.fixture
def copy(model_of: WriteModel, tmp_path: Path) -> Copy:
    """Return a function that copies an architecture's model, so that a test may change it."""
    return lambda name: shutil.copytree(model_of(name), tmp_path / name)


def _change(path: Path, **values: object) -> None:
    known = json.loads(path.read_text()) if path.exists() else {}
    write_json(path, {**known, **values})


def _give_types(directory: Path, types: tuple[int, int, int]) -> None:
    path = directory / "tokenizer.json"
    state = json.loads(path.read_text())
    for piece, kind in zip(state["post_processor"]["single"], types, strict=True):
        next(iter(piece.values()))["type_id"] = kind
    write_json(path, state)
    _change(directory / "tokenizer_config.json", model_input_names=TYPED)


@pytest.mark.parametrize("types", [(1, 1, 1), (0, 1, 0), (1, 0, 1), (0, 0, 1)])
@pytest.mark.parametrize("act", ["gelu", "relu"])
def test_token_types_are_those_of_the_template(
    copy: Copy, types: tuple[int, int, int], act: str
) -> None:
    """In the packed forward pass, and in transformers."""
    directory = copy("bert")
    _change(directory / "config.json", hidden_act=act)
    _give_types(directory, types)
    texts = mixed_texts(ARCHITECTURES["bert"], 12)

    assert_same(our_vectors(directory, texts), reference_vectors(directory, texts))


def test_token_types_of_xlnet_are_those_of_its_template(tmp_path: Path) -> None:
    write_architecture(tmp_path, XLNET)
    _change(tmp_path / "tokenizer_config.json", model_input_names=TYPED)
    texts = mixed_texts(XLNET, 12)

    assert_same(our_vectors(tmp_path, texts), reference_vectors(tmp_path, texts))


def test_a_token_type_that_the_model_lacks_is_refused(copy: Copy) -> None:
    directory = copy("bert")
    _give_types(directory, (0, 2, 0))

    with pytest.raises(UnsupportedModel, match=r"the token type 2; .*'type_vocab_size' = 2"):
        load(directory)


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "mpnet"])
@pytest.mark.parametrize("positions", ["alibi", "rotary", "relative_key", "relative_key_query"])
def test_positions_that_are_not_absolute_are_refused_by_name(
    copy: Copy, name: str, positions: str
) -> None:
    directory = copy(name)
    _change(directory / "config.json", position_embedding_type=positions)

    with pytest.raises(UnsupportedModel, match=f"position_embedding_type '{positions}'"):
        load(directory)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("mpnet", {"pad_token_id": 0}),
        ("mpnet", {"pad_token_id": 5}),
        ("roberta", {"pad_token_id": 0}),
        ("distilbert", {"layer_norm_eps": 1e-2}),
        ("bert", {"layer_norm_eps": 1e-2}),
        ("bert", {"pad_token_id": None}),
        ("bert", {"hidden_act": "gelu_new"}),
        ("bert", {"hidden_act": "silu"}),
        ("qwen3", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}),
    ],
)
def test_numbers_of_the_configuration_are_used(
    tmp_path: Path, name: str, numbers: Mapping[str, Any]
) -> None:
    usual = ARCHITECTURES[name]
    write_architecture(tmp_path, replace(usual, numbers={**usual.numbers, **numbers}))
    _change(tmp_path / "config.json", **numbers)
    texts = mixed_texts(usual, 12)

    assert_same(our_vectors(tmp_path, texts), reference_vectors(tmp_path, texts))


@pytest.mark.parametrize(
    ("file", "values", "problem"),
    [
        ("config.json", {"intermediate_size": 40}, "'intermediate_size' = 40; .* has 48 rows"),
        ("config.json", {"hidden_size": 16}, "'hidden_size' = 16; .* has 32 rows"),
        ("config.json", {"num_attention_heads": 5}, "'num_attention_heads' = 5"),
        ("config.json", {"quantization_config": {"quant_method": "x"}}, "quantization_config"),
        ("config_sentence_transformers.json", {"truncate_dim": 8}, "'truncate_dim' = 8"),
        ("config_sentence_transformers.json", {"model_type": "SparseEncoder"}, "'SparseEncoder'"),
        (
            "sentence_bert_config.json",
            {"tokenizer_args": {"do_lower_case": False}},
            "'tokenizer_args' with 'do_lower_case' = False",
        ),
        (
            "sentence_bert_config.json",
            {"processor_kwargs": {"model_max_length": 20}},
            "'processor_kwargs' with 'model_max_length' = 20",
        ),
        (
            "sentence_bert_config.json",
            {"config_args": {"num_hidden_layers": 1}},
            "'config_args' with 'num_hidden_layers' = 1",
        ),
    ],
)
def test_unsupported_values_are_refused_by_their_key(
    copy: Copy, file: str, values: Mapping[str, Any], problem: str
) -> None:
    directory = copy("bert")
    _change(directory / file, **values)

    with pytest.raises(UnsupportedModel, match=problem):
        load(directory)


def test_arguments_that_change_no_vector_are_accepted(copy: Copy) -> None:
    directory = copy("bert")
    before = our_vectors(directory, ["a"])
    arguments = {"torch_dtype": "float32", "trust_remote_code": True}
    _change(directory / "sentence_bert_config.json", model_args=arguments)

    assert_same(our_vectors(directory, ["a"]), before)
