"""What a model directory says, and which directories are refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedder.config import ModelSettings, PoolingName
from embedder.errors import ConfigurationError, UnsupportedModel
from embedder.models.catalogue import CATALOGUE
from embedder.models.files import ModelFiles
from tests.tiny_models import BERT_CONFIG, VOCABULARY, write_json, write_layout

FLAGS: dict[str, PoolingName] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weighted_mean",
    "pooling_mode_lasttoken": "last",
}
"""The flags that sentence-transformers writes, and what each of them means."""

POSITIONS = int(BERT_CONFIG["max_position_embeddings"])


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "tiny")


def _open(
    directory: Path, *, pooling: PoolingName | None = None, max_tokens: int | None = None
) -> ModelFiles:
    return ModelFiles.open(
        ModelSettings(name=str(directory), pooling=pooling, max_tokens=max_tokens, offline=True)
    )


def _pooling_flags(directory: Path, *flags: str) -> None:
    values = dict.fromkeys(FLAGS, False) | dict.fromkeys(flags, True)
    write_json(directory / "1_Pooling" / "config.json", values)


def test_the_default_model_says_what_its_authors_published() -> None:
    files = ModelFiles.open(ModelSettings(offline=True))

    assert (files.name, files.repository, files.revision) == (
        CATALOGUE[0].alias,
        CATALOGUE[0].repository,
        CATALOGUE[0].revision,
    )
    assert (files.pooling, files.max_tokens, files.vocabulary_size) == ("mean", 256, 30_522)
    assert files.digest == CATALOGUE[0].sha256


def test_a_directory_of_ones_own_is_known_by_its_name_and_its_weights(tiny: Path) -> None:
    (tiny / "model.safetensors").write_bytes(b"weights")

    files = _open(tiny)

    assert (files.name, files.repository, files.revision) == ("tiny", "tiny", "local")
    assert files.weights == tiny / "model.safetensors"
    assert files.digest == hashlib.sha256(b"weights").hexdigest()
    assert files.vocabulary_size == len(VOCABULARY)


def test_the_flags_of_the_files_cover_every_pooling() -> None:
    assert set(FLAGS.values()) == set(get_args(PoolingName))


@pytest.mark.parametrize(("flag", "name"), FLAGS.items())
def test_the_flag_that_is_set_names_the_pooling(tiny: Path, flag: str, name: str) -> None:
    _pooling_flags(tiny, flag)

    assert _open(tiny).pooling == name


@pytest.mark.parametrize("flags", [(), tuple(FLAGS)[:2], tuple(FLAGS)])
def test_no_pooling_and_several_are_refused_with_their_number(
    tiny: Path, flags: tuple[str, ...]
) -> None:
    _pooling_flags(tiny, *flags)

    with pytest.raises(UnsupportedModel, match=f"names {len(flags)} pooling modes"):
        _open(tiny)


def test_the_settings_decide_where_the_files_name_no_single_pooling(tiny: Path) -> None:
    _pooling_flags(tiny)

    assert _open(tiny, pooling="last").pooling == "last"


def test_a_directory_without_a_pooling_module_wants_it_from_the_settings(tiny: Path) -> None:
    modules = json.loads((tiny / "modules.json").read_text())
    write_json(tiny / "modules.json", modules[:1])

    assert _open(tiny, pooling="cls").pooling == "cls"

    with pytest.raises(UnsupportedModel, match=r"model\.pooling"):
        _open(tiny)


@pytest.mark.parametrize(
    "kind", ["sentence_transformers.models.Dense", "Dense", "evil.models.Transformer", "os.system"]
)
def test_a_module_of_another_type_is_refused_by_its_name(tiny: Path, kind: str) -> None:
    modules = json.loads((tiny / "modules.json").read_text())
    write_json(tiny / "modules.json", [*modules, {"path": "3", "type": kind}])

    with pytest.raises(UnsupportedModel, match=kind):
        _open(tiny)


@given(
    own=st.none() | st.integers(1, 2 * POSITIONS), wanted=st.none() | st.integers(1, 2 * POSITIONS)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_limit_of_tokens_is_the_settings_else_the_least_of_authors_and_positions(
    tiny: Path, own: int | None, wanted: int | None
) -> None:
    write_json(tiny / "sentence_bert_config.json", {"max_seq_length": own})
    if wanted is not None and wanted > POSITIONS:
        with pytest.raises(UnsupportedModel, match=f"{wanted}.*{POSITIONS} positions"):
            _open(tiny, max_tokens=wanted)
        return

    limit = _open(tiny, max_tokens=wanted).max_tokens

    assert limit == (wanted or min(own or POSITIONS, POSITIONS))


def test_without_a_word_of_the_authors_every_position_is_used(tiny: Path) -> None:
    (tiny / "sentence_bert_config.json").unlink()

    assert _open(tiny).max_tokens == POSITIONS


@pytest.mark.parametrize("name", ["config.json", "modules.json", "1_Pooling/config.json"])
def test_a_missing_file_is_named(tiny: Path, name: str) -> None:
    (tiny / name).unlink()

    with pytest.raises(UnsupportedModel, match=Path(name).name):
        _open(tiny)


@pytest.mark.parametrize("name", ["config.json", "modules.json", "1_Pooling/config.json"])
def test_a_file_that_is_not_json_is_named(tiny: Path, name: str) -> None:
    (tiny / name).write_text("{")

    with pytest.raises(ConfigurationError, match=Path(name).name):
        _open(tiny)


@pytest.mark.parametrize("missing", ["max_position_embeddings", "vocab_size"])
def test_a_config_without_a_number_that_is_needed_is_refused_by_its_name(
    tiny: Path, missing: str
) -> None:
    """Other architectures, T5 for one, have no such number: unsupported, not a crash."""
    write_json(
        tiny / "config.json", {name: BERT_CONFIG[name] for name in BERT_CONFIG if name != missing}
    )

    with pytest.raises(UnsupportedModel, match=missing):
        _ = _open(tiny).vocabulary_size
