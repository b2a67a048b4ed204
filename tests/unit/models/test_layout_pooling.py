"""The pooling of a model as written by each release of sentence-transformers."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.core.errors import UnsupportedModel
from embedder.models.layout import Layout, read_layout
from embedder.models.modules import MODULES
from embedder.settings.model import PoolingName
from tests.tiny_models import write_json
from tests.unit.models.module_files import write_modules

FLAGS: dict[str, PoolingName] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weighted_mean",
    "pooling_mode_lasttoken": "last",
}
"""The flags of releases below 6, in the order in which sentence-transformers concatenates."""

NAMES: dict[str, PoolingName] = {
    "cls": "cls",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean_sqrt_len",
    "weightedmean": "weighted_mean",
    "lasttoken": "last",
}
"""The names of release 6."""


def _pooled(directory: Path, config: object, *, pooling: PoolingName | None = None) -> Layout:
    write_modules(directory, "Transformer", "Pooling")
    write_json(directory / "1_Pooling" / "config.json", config)
    return read_layout(directory, pooling=pooling)


def _plain(directory: Path, **config: object) -> Path:
    write_json(directory / "config.json", config)
    return directory


def test_the_flags_and_the_names_cover_every_pooling() -> None:
    assert set(FLAGS.values()) == set(NAMES.values()) == set(get_args(PoolingName))


@pytest.mark.parametrize(("flag", "name"), FLAGS.items())
def test_the_flag_that_is_set_names_the_pooling(tmp_path: Path, flag: str, name: str) -> None:
    config = {"word_embedding_dimension": 8, **dict.fromkeys(FLAGS, False), flag: True}

    assert _pooled(tmp_path, config).pooling == (name,)


@given(st.sets(st.sampled_from(list(FLAGS)), min_size=1), st.permutations(list(FLAGS)))
def test_several_flags_are_laid_side_by_side_in_the_package_s_order(
    tmp_path_factory: pytest.TempPathFactory, flags: set[str], written: list[str]
) -> None:
    config = {flag: flag in flags for flag in written}

    layout = _pooled(tmp_path_factory.getbasetemp() / "flags", config)

    assert layout.pooling == tuple(FLAGS[flag] for flag in FLAGS if flag in flags)


@pytest.mark.parametrize("config", [{}, dict.fromkeys(FLAGS, False), {"pooling_mode": None}])
def test_without_any_flag_the_mean_is_taken(tmp_path: Path, config: object) -> None:
    assert _pooled(tmp_path, config).pooling == ("mean",)


@pytest.mark.parametrize(("name", "pooling"), NAMES.items())
def test_a_pooling_is_known_by_its_name(tmp_path: Path, name: str, pooling: str) -> None:
    config = {"embedding_dimension": 8, "pooling_mode": name, "include_prompt": True}

    assert _pooled(tmp_path, config).pooling == (pooling,)


@given(st.lists(st.sampled_from(list(NAMES)), min_size=1, max_size=4))
def test_several_names_are_laid_side_by_side_in_the_order_given(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    layout = _pooled(tmp_path_factory.getbasetemp() / "names", {"pooling_mode": names})

    assert layout.pooling == tuple(NAMES[name] for name in names)


def test_a_pooling_name_takes_precedence_over_flags(tmp_path: Path) -> None:
    config = {"pooling_mode": "cls", "pooling_mode_mean_tokens": True}

    assert _pooled(tmp_path, config).pooling == ("cls",)


@pytest.mark.parametrize(
    "named", ["attention", "", "MEAN", [], ["mean", "x"], 5, {"mean": 1}, [[]]]
)
def test_an_unknown_pooling_is_refused(tmp_path: Path, named: object) -> None:
    with pytest.raises(UnsupportedModel, match=r"names the pooling .*supported: cls, max, mean"):
        _pooled(tmp_path, {"pooling_mode": named})


@pytest.mark.parametrize("included", [False, None, 0])
def test_a_pooling_that_leaves_the_prompt_out_is_refused(tmp_path: Path, included: object) -> None:
    with pytest.raises(UnsupportedModel, match="leaves the prompt out"):
        _pooled(tmp_path, {"include_prompt": included})


def test_configured_pooling_replaces_the_files_pooling(tmp_path: Path) -> None:
    layout = _pooled(tmp_path, {"pooling_mode": "attention"}, pooling="last")

    assert (layout.pooling, layout.notes) == (("last",), ())


def test_modules_without_pooling_need_a_configured_pooling(tmp_path: Path) -> None:
    write_modules(tmp_path, "Transformer", "Normalize")

    assert read_layout(tmp_path, pooling="cls").pooling == ("cls",)
    with pytest.raises(UnsupportedModel, match=r"has no Pooling; set model\.pooling"):
        read_layout(tmp_path, pooling=None, fallback="cls")


def test_an_encoder_without_modules_gets_mean_pooling_with_a_note(tmp_path: Path) -> None:
    layout = read_layout(_plain(tmp_path, architectures=["BertModel"]), pooling=None)

    assert layout == Layout(
        tmp_path, ("mean",), notes=("no modules.json: mean pooling is assumed",)
    )


def test_a_model_without_modules_gets_the_pooling_of_its_row(tmp_path: Path) -> None:
    layout = read_layout(tmp_path, pooling=None, fallback="cls")

    assert (layout.pooling, layout.notes) == (
        ("cls",),
        ("no modules.json: cls pooling is assumed",),
    )


def test_configured_pooling_needs_no_note(tmp_path: Path) -> None:
    layout = read_layout(_plain(tmp_path), pooling="max", fallback="cls")

    assert (layout.pooling, layout.notes) == (("max",), ())


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"architectures": ["Qwen3ForCausalLM"]}, "last"),
        ({"architectures": ["LlamaForCausalLM"], "is_causal": True}, "last"),
        ({"architectures": ["LlamaForCausalLM"], "is_causal": False}, "mean"),
        ({"architectures": ["Qwen3Model"], "model_type": "qwen3"}, "mean"),
        ({"architectures": ["BertModel", "BertForCausalLM"]}, "mean"),
        ({"architectures": []}, "mean"),
        ({"architectures": None}, "mean"),
        ({"architectures": "LlamaForCausalLM"}, "mean"),
        ({"architectures": [5]}, "mean"),
        ({}, "mean"),
    ],
)
def test_a_decoder_without_modules_gets_last_token_pooling(
    tmp_path: Path, config: dict[str, object], pooling: str
) -> None:
    layout = read_layout(_plain(tmp_path, **config), pooling=None)

    assert layout.pooling == (pooling,)
    assert layout.notes == (f"no modules.json: {pooling} pooling is assumed",)


@pytest.mark.parametrize("kind", ["folder", "dangling link"])
def test_unreadable_modules_are_refused(tmp_path: Path, kind: str) -> None:
    _plain(tmp_path)
    if kind == "folder":
        (tmp_path / MODULES).mkdir()
    else:
        (tmp_path / MODULES).symlink_to("nothing")

    with pytest.raises(UnsupportedModel, match=MODULES):
        read_layout(tmp_path, pooling=None)
