"""The architectures with a packed forward pass, and the numbers read for them."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from embedder.backends.torch.architectures import (
    EncoderShape,
    expected_rows,
    packed_unsupported_reason,
)
from embedder.core.errors import UnsupportedModel
from tests.tiny_architectures import ARCHITECTURES
from tests.tiny_models import BERT_CONFIG

DISTILBERT = {"model_type": "distilbert", **ARCHITECTURES["distilbert"].numbers}


def _bert(**config: object) -> dict[str, Any]:
    return {**BERT_CONFIG, **config}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_only_bert_like_architectures_are_supported(name: str) -> None:
    reason = packed_unsupported_reason({"model_type": name, **ARCHITECTURES[name].numbers})

    assert (reason is None) is ARCHITECTURES[name].packed


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (_bert(model_type="qwen3"), "'qwen3'"),
        ({}, "None"),
        (_bert(hidden_act="relu"), "'relu'"),
        ({**DISTILBERT, "activation": "relu"}, "'relu'"),
        (_bert(is_decoder=True), "decoder"),
        (_bert(position_embedding_type="relative_key"), "'relative_key' positions"),
    ],
)
def test_the_reason_names_the_unsupported_value(config: dict[str, Any], named: str) -> None:
    reason = packed_unsupported_reason(config)

    assert reason is not None
    assert named in reason


def test_the_numbers_of_bert_are_read() -> None:
    shape = EncoderShape.read(_bert(layer_norm_eps=1e-5, hidden_act="gelu_new"))

    assert (shape.layers, shape.heads, shape.width, shape.head_width) == (3, 4, 32, 8)
    assert (shape.norm_epsilon, shape.gelu) == (1e-5, "tanh")


def test_the_numbers_of_distilbert_are_read_from_its_own_keys() -> None:
    shape = EncoderShape.read(DISTILBERT)

    assert (shape.layers, shape.heads, shape.width) == (3, 4, 32)
    assert (shape.norm_epsilon, shape.gelu) == (1e-12, "none")


@pytest.mark.parametrize(
    ("config", "padding_id"),
    [
        (_bert(pad_token_id=0), -1),
        (_bert(model_type="roberta"), 1),
        (_bert(model_type="roberta", pad_token_id=None), 1),
        (_bert(model_type="xlm-roberta", pad_token_id=0), 0),
    ],
)
def test_positions_start_after_the_padding_id_in_some_architectures(
    config: dict[str, Any], padding_id: int
) -> None:
    assert EncoderShape.read(config).padding_id == padding_id


@pytest.mark.parametrize("missing", ["num_hidden_layers", "num_attention_heads", "hidden_size"])
def test_a_missing_number_is_refused_by_name(missing: str) -> None:
    config = _bert()
    del config[missing]

    with pytest.raises(UnsupportedModel, match=missing):
        EncoderShape.read(config)


@pytest.mark.parametrize("heads", [0, -4])
def test_a_number_of_heads_below_one_is_refused(heads: int) -> None:
    with pytest.raises(UnsupportedModel, match=f"num_attention_heads' = {heads}"):
        EncoderShape.read(_bert(num_attention_heads=heads))


@pytest.mark.parametrize("activation", [{"a": 1}, ["gelu"], None, 5])
def test_an_activation_that_is_no_string_is_unsupported(activation: object) -> None:
    assert "activation" in (packed_unsupported_reason(_bert(hidden_act=activation)) or "")


def test_expected_rows_are_listed_lazily() -> None:
    rows = expected_rows(_bert(num_hidden_layers=10**9))

    assert "encoder.layer.0.attention.self.query.weight" in [name for name, _, _ in islice(rows, 8)]
