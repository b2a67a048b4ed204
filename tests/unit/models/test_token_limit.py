"""The token limit from the settings, the files and the positions."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.core.errors import UnsupportedModel
from embedder.models.token_limit import DEFAULT_LIMIT, lower_case, token_limit
from tests.tiny_models import write_json

LIMITS = st.none() | st.integers(1, 60)
ABSOLUTE = {"model_type": "bert", "max_position_embeddings": 512}
UNBOUNDED = 1000000000000000019884624838656
"""The limit that transformers writes for a tokenizer without one."""


def _sentence_config(folder: Path, content: object, kind: str = "bert") -> None:
    write_json(folder / f"sentence_{kind}_config.json", content)


@given(positions=LIMITS, authors=LIMITS, tokenizer=LIMITS, wanted=LIMITS)
def test_the_limit_is_the_settings_else_the_least_of_authors_and_positions(
    tmp_path_factory: pytest.TempPathFactory,
    positions: int | None,
    authors: int | None,
    tokenizer: int | None,
    wanted: int | None,
) -> None:
    folder = tmp_path_factory.getbasetemp() / "limits"
    config = {"model_type": "bert", "max_position_embeddings": positions}
    _sentence_config(folder, {"max_seq_length": authors})
    write_json(folder / "tokenizer_config.json", {"model_max_length": tokenizer})
    if wanted and positions and wanted > positions:
        with pytest.raises(UnsupportedModel, match=f"{wanted}; the model has {positions} position"):
            token_limit(folder, config, wanted)
        return

    limit = token_limit(folder, config, wanted)

    said = [number for number in (positions, authors or tokenizer) if number]
    assert limit == (wanted or min(said, default=512))


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        (ABSOLUTE, 512),
        ({"model_type": "distilbert", "max_position_embeddings": 512}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 8194, "pad_token_id": 1}, 8192),
        ({"model_type": "camembert", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "mpnet", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "longformer", "max_position_embeddings": 4098, "pad_token_id": 1}, 4096),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 0}, 513),
        ({"model_type": "roberta", "max_position_embeddings": 514}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": None}, 512),
        ({"model_type": "qwen3", "max_position_embeddings": 32768, "pad_token_id": 151643}, 32768),
        ({"model_type": "gpt2", "n_positions": 1024}, 1024),
        ({"model_type": "t5", "n_positions": 512}, DEFAULT_LIMIT),
        ({"model_type": "xlnet", "max_position_embeddings": -1}, DEFAULT_LIMIT),
        ({"model_type": "bert", "max_position_embeddings": True}, DEFAULT_LIMIT),
        ({"model_type": "bert", "max_position_embeddings": "512"}, DEFAULT_LIMIT),
        ({}, DEFAULT_LIMIT),
    ],
)
def test_every_family_counts_its_positions_in_its_own_way(
    tmp_path: Path, config: dict[str, object], limit: int
) -> None:
    assert token_limit(tmp_path, config, None) == limit


def test_relative_positions_set_no_bound_to_the_settings(tmp_path: Path) -> None:
    _sentence_config(tmp_path, {"max_seq_length": 256})
    config = {"model_type": "t5", "n_positions": 512}

    assert token_limit(tmp_path, config, None) == 256
    assert token_limit(tmp_path, config, 2000) == 2000


@pytest.mark.parametrize("wanted", [513, 514])
def test_unused_position_rows_do_not_raise_the_limit(tmp_path: Path, wanted: int) -> None:
    config = {"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}

    with pytest.raises(UnsupportedModel, match=f"is {wanted}; the model has 512 positions"):
        token_limit(tmp_path, config, wanted)


@pytest.mark.parametrize(("positions", "padding"), [(2, 1), (1, 1), (514, 513), (514, -5)])
def test_positions_that_the_padding_uses_up_are_refused(
    tmp_path: Path, positions: int, padding: int
) -> None:
    config = {
        "model_type": "roberta",
        "max_position_embeddings": positions,
        "pad_token_id": padding,
    }

    with pytest.raises(UnsupportedModel, match=f"= {positions} and 'pad_token_id' = {padding}"):
        token_limit(tmp_path, config, None)


@pytest.mark.parametrize("stated", [None, 512, 513, 10**9, UNBOUNDED, 1e30, float("inf")])
@pytest.mark.parametrize("key", ["max_seq_length", "model_max_length", "max_len"])
def test_positions_bound_a_larger_stated_limit(tmp_path: Path, key: str, stated: object) -> None:
    _state_limit(tmp_path, key, stated)

    assert token_limit(tmp_path, ABSOLUTE, None) == 512


@pytest.mark.parametrize(
    "stated", [0, -1, -(10**30), -1e30, "128", "", 128.0, 0.5, float("nan"), True, False, [128], {}]
)
@pytest.mark.parametrize("key", ["max_seq_length", "model_max_length", "max_len"])
def test_a_limit_that_is_no_number_of_tokens_is_refused_by_file_key_and_value(
    tmp_path: Path, key: str, stated: object
) -> None:
    path = _state_limit(tmp_path, key, stated)

    with pytest.raises(UnsupportedModel) as caught:
        token_limit(tmp_path, ABSOLUTE, None)

    assert f"{path} has {key!r} = {stated!r}; it must be a whole number" in str(caught.value)
    assert token_limit(tmp_path, ABSOLUTE, 100) == 100, "as the message advises"


def _state_limit(folder: Path, key: str, value: object) -> Path:
    """Write a limit into the file that has its key, and return the path of that."""
    name = "sentence_bert_config" if key == "max_seq_length" else "tokenizer_config"
    path = folder / f"{name}.json"
    write_json(path, {key: value})
    return path


@pytest.mark.parametrize(
    "kind", ["bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"]
)
def test_the_stated_limit_is_found_under_every_file_name(tmp_path: Path, kind: str) -> None:
    _sentence_config(tmp_path, {"max_seq_length": 100, "do_lower_case": True}, kind)

    assert token_limit(tmp_path, ABSOLUTE, None) == 100
    assert lower_case(tmp_path) is True


def test_the_first_file_with_content_counts(tmp_path: Path) -> None:
    _sentence_config(tmp_path, {})
    _sentence_config(tmp_path, {"max_seq_length": 100}, "roberta")
    _sentence_config(tmp_path, {"max_seq_length": 50}, "xlnet")

    assert token_limit(tmp_path, ABSOLUTE, None) == 100


@pytest.mark.parametrize(
    ("content", "expected"),
    [({"do_lower_case": True}, True), ({"do_lower_case": False}, False), ({}, False)],
)
def test_texts_are_put_into_lower_case_where_the_files_say_so(
    tmp_path: Path, content: object, expected: bool
) -> None:
    _sentence_config(tmp_path, content)

    assert lower_case(tmp_path) is expected


def test_texts_are_left_as_they_are_where_no_file_says_anything(tmp_path: Path) -> None:
    assert lower_case(tmp_path) is False


def test_the_text_options_of_sentence_transformers_6_are_accepted(tmp_path: Path) -> None:
    content = {
        "transformer_task": "feature-extraction",
        "modality_config": {
            "text": {"method": "forward", "method_output_name": "last_hidden_state"},
            "message": {"method": "forward", "format": "flat"},
        },
        "module_output_name": "token_embeddings",
        "processing_kwargs": {"image": {"size": 5}},
    }
    _sentence_config(tmp_path, content)

    assert token_limit(tmp_path, ABSOLUTE, None) == 512


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("transformer_task", "fill-mask"),
        ("module_output_name", "sentence_embedding"),
        ("modality_config", {"message": {"method": "forward"}}),
        ("modality_config", {"text": {"method": "get_text_features"}}),
        ("modality_config", {"text": {"method": "forward", "method_output_name": "logits"}}),
        ("processing_kwargs", {"text": {"add_special_tokens": False}}),
        ("processing_kwargs", {"common": {"padding": "max_length"}}),
        ("query_length", 32),
        ("document_length", 180),
        ("query_expansion", {"strategy": "fixed"}),
    ],
)
def test_unsupported_text_preparation_is_refused(tmp_path: Path, key: str, value: object) -> None:
    _sentence_config(tmp_path, {key: value})
    named = "method" if key == "modality_config" and "text" in str(value) else key

    with pytest.raises(UnsupportedModel, match=f"asks for '{named}"):
        token_limit(tmp_path, ABSOLUTE, None)


@pytest.mark.parametrize("name", ["sentence_bert_config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [[], 5, None, "x"])
def test_a_file_that_holds_no_object_is_refused_by_its_path(
    tmp_path: Path, name: str, content: object
) -> None:
    write_json(tmp_path / name, content)

    with pytest.raises(UnsupportedModel, match=f"{name} must hold a JSON object"):
        token_limit(tmp_path, ABSOLUTE, None)
