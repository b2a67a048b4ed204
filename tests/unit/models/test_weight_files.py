"""The weight files of a model, and indexes of shards that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedder.core.errors import UnsupportedModel
from embedder.models.weights import SHARDS, WEIGHTS, weight_files
from tests.tiny_models import write_json
from tests.unit.models.model_sources import CONTENT


def test_one_file_of_weights_goes_before_an_index_of_shards(tmp_path: Path) -> None:
    for name in (WEIGHTS, SHARDS, "a.safetensors"):
        (tmp_path / name).write_bytes(CONTENT)

    assert weight_files(tmp_path) == (tmp_path / WEIGHTS,)


def test_shards_are_listed_once_and_by_name(tmp_path: Path) -> None:
    for name in ("b.safetensors", "a.safetensors", "unused.safetensors"):
        (tmp_path / name).touch()
    placed = {"x": "b.safetensors", "y": "a.safetensors", "z": "b.safetensors"}
    write_json(tmp_path / SHARDS, {"weight_map": placed})

    assert weight_files(tmp_path) == (tmp_path / "a.safetensors", tmp_path / "b.safetensors")


@pytest.mark.parametrize(
    "shard",
    [
        "../outside.safetensors",
        "sub/inside.safetensors",
        "/etc/passwd",
        "sub\\inside.safetensors",
        "pytorch_model.bin",
        "missing.safetensors",
        "a\0.safetensors",
        "\ud800.safetensors",
        "x" * 5000 + ".safetensors",
        "",
        "..",
        5,
        None,
        ["a.safetensors"],
    ],
)
def test_a_shard_that_is_no_safetensors_file_beside_its_index_is_refused(
    tmp_path: Path, shard: object
) -> None:
    folder = tmp_path / "model"
    for path in (tmp_path / "outside.safetensors", folder / "sub" / "inside.safetensors"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name in ("pytorch_model.bin", "sub\\inside.safetensors"):
        (folder / name).touch()
    write_json(folder / SHARDS, {"weight_map": {"x": shard}})

    with pytest.raises(UnsupportedModel, match="index"):
        weight_files(folder)


@pytest.mark.parametrize("index", [{}, {"weight_map": {}}, {"weight_map": ["a"]}, [], None, 5])
def test_an_index_without_shards_is_refused(tmp_path: Path, index: object) -> None:
    write_json(tmp_path / SHARDS, index)

    with pytest.raises(UnsupportedModel, match=SHARDS):
        weight_files(tmp_path)


@pytest.mark.parametrize("other", [None, "pytorch_model.bin", "pytorch_model.bin.index.json"])
def test_weights_in_other_formats_are_not_accepted(tmp_path: Path, other: str | None) -> None:
    if other is not None:
        (tmp_path / other).touch()

    with pytest.raises(UnsupportedModel, match=f"has no {WEIGHTS}; no other format is read"):
        weight_files(tmp_path)
