"""The order of the sources of models, and when a source has a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from embedder.core.errors import ModelNotFound, UnsafeModel
from embedder.models.weights import SHARDS, WEIGHTS, ModelSource, locate
from embedder.settings.model import ModelSettings
from tests.tiny_models import write_json
from tests.unit.models.model_sources import CONTENT, REVISION, ROW, FakeSources, fill


def _locate(name: str, *, revision: str | None = None, offline: bool = False) -> ModelSource:
    return locate(ModelSettings(name=name, revision=revision, offline=offline))


SOURCES: list[tuple[str, Callable[[FakeSources], Path]]] = [
    ("installed package", FakeSources.fill_package),
    ("Hugging Face cache", FakeSources.fill_hub_cache),
    ("Hugging Face hub", FakeSources.fill_hub),
]


@pytest.mark.parametrize("first", range(len(SOURCES)))
def test_the_first_source_with_the_model_is_used(sources: FakeSources, first: int) -> None:
    directories = [fill_source(sources) for _, fill_source in SOURCES[first:]]

    source = _locate("tiny")

    assert source.directory.resolve() == directories[0].resolve()
    assert (source.place, source.row) == (SOURCES[first][0], ROW)
    assert (source.repository, source.revision) == ("someone/tiny", REVISION)


@pytest.mark.parametrize("name", ["tiny", "someone/tiny"])
def test_a_directory_takes_precedence_over_every_source(
    sources: FakeSources, tmp_path: Path, name: str
) -> None:
    sources.fill_package()
    fill(tmp_path / name)

    source = _locate(name)

    assert (source.directory, source.place) == (Path(name), "local directory")
    assert source.row is ROW, "the catalogue's digest still holds"
    assert (source.repository, source.revision) == ("someone/tiny", REVISION)


def test_a_directory_with_another_name_has_no_row(tmp_path: Path) -> None:
    source = _locate(str(fill(tmp_path / "mine")))

    assert (source.directory, source.row) == (tmp_path / "mine", None)
    assert (source.repository, source.revision) == ("mine", "local")


def test_a_directory_in_the_user_s_home_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    fill(tmp_path / "mine")

    assert _locate("~/mine").directory == tmp_path / "mine"


def test_the_current_directory_is_named_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fill(tmp_path / "mine"))

    assert _locate(".").repository == "mine"


def test_a_link_to_a_directory_is_a_directory(tmp_path: Path) -> None:
    fill(tmp_path / "v2")
    (tmp_path / "current").symlink_to("v2")

    assert _locate(str(tmp_path / "current")).directory == tmp_path / "current"


def test_a_model_is_found_by_its_repository_too(sources: FakeSources) -> None:
    sources.fill_package()

    assert _locate(ROW.repository) == _locate(ROW.alias)


def test_offline_the_hub_is_not_asked(sources: FakeSources) -> None:
    sources.fill_hub()

    with pytest.raises(ModelNotFound) as caught:
        _locate("tiny", offline=True)

    assert "Hugging Face hub: turned off by model.offline" in caught.value.places
    assert sources.asked == []


def test_the_error_for_a_missing_model_names_every_source(
    sources: FakeSources,
) -> None:
    with pytest.raises(ModelNotFound) as caught:
        _locate("tiny")

    assert caught.value.name == "tiny"
    assert [place.partition(":")[0] for place in caught.value.places] == [
        name for name, _ in SOURCES
    ]
    assert "tiny_weights_carrier is not installed" in str(caught.value)
    assert "someone/tiny@01234567" in str(caught.value)


@pytest.mark.parametrize("fill_source", [place for _, place in SOURCES])
def test_a_source_without_weights_does_not_have_the_model(
    sources: FakeSources, fill_source: Callable[[FakeSources], Path]
) -> None:
    (fill_source(sources) / WEIGHTS).unlink()

    with pytest.raises(ModelNotFound, match=f"has no {WEIGHTS}"):
        _locate("tiny")


def test_weights_in_a_module_folder_are_found(sources: FakeSources) -> None:
    snapshot = sources.fill_hub_cache()
    (snapshot / WEIGHTS).unlink()
    (snapshot / "0_Transformer").mkdir()
    (snapshot / "0_Transformer" / WEIGHTS).write_bytes(CONTENT)

    assert _locate("tiny", offline=True).place == "Hugging Face cache"


def test_an_incomplete_download_is_not_used(sources: FakeSources) -> None:
    snapshot = sources.fill_hub_cache()
    (snapshot / WEIGHTS).rename(snapshot / "a.safetensors")
    write_json(snapshot / SHARDS, {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}})
    sources.fill_hub()

    source = _locate("tiny")

    assert source.place == "Hugging Face hub"


def test_a_cached_transformer_without_modules_is_incomplete(
    sources: FakeSources,
) -> None:
    """Transformers leaves such snapshots; without modules the pooling is unknown."""
    (sources.fill_hub_cache() / "modules.json").unlink()
    sources.fill_hub()

    source = _locate("tiny")

    assert source.place == "Hugging Face hub"
    assert sources.asked == [("someone/tiny", REVISION)]


def test_offline_a_cached_transformer_is_better_than_nothing(sources: FakeSources) -> None:
    (sources.fill_hub_cache() / "modules.json").unlink()

    assert _locate("tiny", offline=True).place == "Hugging Face cache"


def test_a_cached_model_marked_without_modules_is_complete(sources: FakeSources) -> None:
    (sources.fill_hub_cache() / "modules.json").unlink()
    mark = sources.cached / ".no_exist" / REVISION / "modules.json"
    mark.parent.mkdir(parents=True)
    mark.touch()
    sources.break_hub(AssertionError("the hub must not be asked"))

    assert _locate("tiny").place == "Hugging Face cache"


@pytest.mark.parametrize(
    "name", ["else", "a/b/c", "/a/b", "./b", "../b", "~/b", "~nobody-has-this-name/b", "a\0/b/c"]
)
def test_a_name_that_is_no_repository_is_not_looked_up(sources: FakeSources, name: str) -> None:
    sources.break_hub(AssertionError("the hub must not be asked"))

    with pytest.raises(ModelNotFound, match="no such directory; the catalogue, which has tiny"):
        _locate(name, revision=REVISION)


@pytest.mark.parametrize("name", ["a b/c", f"{'a' * 5000}/b", "a--b/c", "a\0/b"])
def test_a_name_that_the_hub_would_not_take_is_not_found(sources: FakeSources, name: str) -> None:
    with pytest.raises(ModelNotFound):
        _locate(name, revision=REVISION)


def test_an_unreachable_hub_counts_as_model_not_found(sources: FakeSources) -> None:
    sources.break_hub(OSError("connection reset"))

    with pytest.raises(ModelNotFound, match="hub: OSError"):
        _locate("tiny")


def test_a_refusing_proxy_counts_as_model_not_found(sources: FakeSources) -> None:
    """The hub's client raises this error of its HTTP library, which is no `OSError`."""
    http = pytest.importorskip("httpx2")
    sources.break_hub(http.ProxyError("403 Forbidden"))

    with pytest.raises(ModelNotFound, match="hub: ProxyError"):
        _locate("tiny")


@pytest.mark.parametrize("fill_source", [place for _, place in SOURCES])
def test_a_config_that_asks_for_kernels_is_refused_in_every_source(
    sources: FakeSources, fill_source: Callable[[FakeSources], Path]
) -> None:
    path = fill_source(sources) / "1_Pooling" / "config.json"
    path.unlink()
    write_json(path, {"attn_implementation": "someone/kernels"})

    with pytest.raises(UnsafeModel, match="attn_implementation"):
        _locate("tiny")


def test_unsupported_files_in_a_snapshot_are_ignored(sources: FakeSources) -> None:
    snapshot = sources.fill_hub_cache()
    for name in ("pytorch_model.bin", "train_script.py"):
        (snapshot / name).touch()

    assert _locate("tiny").directory == snapshot
