"""What the packed forward pass takes on, and the numbers that it reads."""

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
def test_the_family_of_bert_is_taken_on_and_nothing_else(name: str) -> None:
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
def test_the_reason_names_what_is_not_taken_on(config: dict[str, Any], named: str) -> None:
    reason = packed_unsupported_reason(config)

    assert reason is not None
    assert named in reason


def test_a_bert_has_the_numbers_of_its_file() -> None:
    shape = EncoderShape.read(_bert(layer_norm_eps=1e-5, hidden_act="gelu_new"))

    assert (shape.layers, shape.heads, shape.width, shape.head_width) == (3, 4, 32, 8)
    assert (shape.norm_epsilon, shape.gelu) == (1e-5, "tanh")


def test_a_distilbert_has_names_of_its_own_for_the_same_numbers() -> None:
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
def test_positions_begin_after_the_padding_id_where_the_architecture_says_so(
    config: dict[str, Any], padding_id: int
) -> None:
    assert EncoderShape.read(config).padding_id == padding_id


@pytest.mark.parametrize("missing", ["num_hidden_layers", "num_attention_heads", "hidden_size"])
def test_a_number_that_is_missing_is_refused_by_its_name(missing: str) -> None:
    config = _bert()
    del config[missing]

    with pytest.raises(UnsupportedModel, match=missing):
        EncoderShape.read(config)


@pytest.mark.parametrize("heads", [0, -4])
def test_heads_that_cannot_share_the_width_are_refused(heads: int) -> None:
    with pytest.raises(UnsupportedModel, match=f"num_attention_heads' = {heads}"):
        EncoderShape.read(_bert(num_attention_heads=heads))


@pytest.mark.parametrize("activation", [{"a": 1}, ["gelu"], None, 5])
def test_an_activation_that_is_no_name_has_no_packed_forward_pass(activation: object) -> None:
    assert "activation" in (packed_unsupported_reason(_bert(hidden_act=activation)) or "")


def test_as_many_layers_as_a_file_may_state_are_not_listed_before_the_first_is_looked_at() -> None:
    rows = expected_rows(_bert(num_hidden_layers=10**9))

    assert "encoder.layer.0.attention.self.query.weight" in [name for name, _, _ in islice(rows, 8)]
