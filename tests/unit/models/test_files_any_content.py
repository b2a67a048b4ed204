"""Any content of a model's files leads to a result or a configuration error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.core.errors import ConfigurationError
from embedder.models.files import ModelFiles
from embedder.models.weights import SHARDS, WEIGHTS
from tests.tiny_models import BERT_CONFIG, write_json
from tests.unit.models.model_sources import open_files

STATED = "config_sentence_transformers.json"
IDENTITY = "torch.nn.modules.linear.Identity"
TANH = "torch.nn.modules.activation.Tanh"


JSON_FILES = (
    "config.json",
    "modules.json",
    "1_Pooling/config.json",
    "2_Dense/config.json",
    "3_Normalize/config.json",
    "sentence_bert_config.json",
    "tokenizer_config.json",
    STATED,
    SHARDS,
)
USUAL: dict[str, Any] = {
    "config.json": {**BERT_CONFIG, "architectures": ["BertModel"], "pad_token_id": 0},
    "modules.json": [
        {"path": "", "type": "sentence_transformers.models.Transformer"},
        {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"path": "2_Dense", "type": "sentence_transformers.models.Dense"},
        {"path": "3_Normalize", "type": "sentence_transformers.models.Normalize"},
    ],
    "1_Pooling/config.json": {"pooling_mode": ["mean"], "include_prompt": True},
    "2_Dense/config.json": {"activation_function": TANH, "use_residual": False},
    "3_Normalize/config.json": {"module_input_name": "sentence_embedding"},
    "sentence_bert_config.json": {
        "max_seq_length": 24,
        "do_lower_case": False,
        "modality_config": {"text": {"method": "forward"}},
        "processing_kwargs": {"text": {}},
    },
    "tokenizer_config.json": {"model_max_length": 512},
    STATED: {"prompts": {"query": "q: "}, "default_prompt_name": "query"},
    SHARDS: {"weight_map": {"x": "a.safetensors"}},
}
WORDS = st.sampled_from(
    ["", "..", "/", "a.safetensors", "roberta", "last", "mean", "query", "Pooling", "auto_map"]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | WORDS
VALUES = st.recursive(
    SCALARS | st.text(st.characters(), max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | WORDS, inner, max_size=3)
    ),
    max_leaves=8,
)


def _places_in(value: object, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every value within, the whole one included."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [way, *(found for key, item in inner for found in _places_in(item, (*way, key)))]


def _replaced(value: Any, way: tuple[Any, ...], other: object) -> Any:
    if not way:
        return other
    copy = value.copy()
    copy[way[0]] = _replaced(value[way[0]], way[1:], other)
    return copy


CHANGES = st.sampled_from(JSON_FILES).flatmap(
    lambda name: st.tuples(st.just(name), st.sampled_from(_places_in(USUAL[name])), VALUES)
)


def _everything(files: ModelFiles) -> tuple[object, ...]:
    return (
        files.digest,
        files.tokenizer_digest,
        files.vocabulary_size,
        files.layout.notes,
        files.pooling,
    )


@given(st.lists(CHANGES, min_size=1, max_size=2), st.booleans())
def test_any_content_of_the_files_raises_only_configuration_errors(
    tmp_path_factory: pytest.TempPathFactory,
    changes: list[tuple[str, tuple[Any, ...], object]],
    plain: bool,
) -> None:
    directory = tmp_path_factory.getbasetemp() / "any"
    for name in JSON_FILES:
        write_json(directory / name, USUAL[name])
    for name in ("tokenizer.json", "a.safetensors", f"2_Dense/{WEIGHTS}"):
        (directory / name).write_bytes(b"x")
    assert _everything(open_files(directory))
    for name, way, value in changes:
        write_json(directory / name, _replaced(USUAL[name], way, value))
    if plain:
        (directory / "modules.json").unlink()

    try:
        said = _everything(open_files(directory))
    except ConfigurationError:
        return
    assert all(isinstance(part, str | int | tuple) for part in said)


@pytest.mark.parametrize("name", [name for name in JSON_FILES if name != SHARDS])
@pytest.mark.parametrize("spoil", [Path.mkdir, lambda path: path.write_text("{")])
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, name: str, spoil: Callable[[Path], object]
) -> None:
    for usual, content in USUAL.items():
        write_json(tmp_path / usual, content)
    (tmp_path / name).unlink()
    spoil(tmp_path / name)
    # The tokenizer's own limit is asked for where the authors state none.
    if name == "tokenizer_config.json":
        (tmp_path / "sentence_bert_config.json").unlink()

    with pytest.raises(ConfigurationError, match=Path(name).name):
        open_files(tmp_path)
