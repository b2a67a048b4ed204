"""Where models are looked for, in which order, and what counts as having them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from embedder.core.errors import ConfigurationError, ModelNotFound, UnsafeModel
from embedder.models.weights import SHARDS, WEIGHTS, ModelSource, locate
from embedder.settings.model import ModelSettings
from tests.tiny_models import write_json
from tests.unit.models.model_sources import CONTENT, OTHER_REVISION, REVISION, ROW, Places, fill


def _locate(name: str, *, revision: str | None = None, offline: bool = False) -> ModelSource:
    return locate(ModelSettings(name=name, revision=revision, offline=offline))


PLACES: list[tuple[str, Callable[[Places], Path]]] = [
    ("installed package", Places.fill_package),
    ("Hugging Face cache", Places.fill_hub_cache),
    ("Hugging Face hub", Places.fill_hub),
]


@pytest.mark.parametrize("first", range(len(PLACES)))
def test_the_first_place_that_has_the_model_is_taken(places: Places, first: int) -> None:
    directories = [fill_place(places) for _, fill_place in PLACES[first:]]

    source = _locate("tiny")

    assert source.directory.resolve() == directories[0].resolve()
    assert (source.place, source.row) == (PLACES[first][0], ROW)
    assert (source.repository, source.revision) == ("someone/tiny", REVISION)


@pytest.mark.parametrize("name", ["tiny", "someone/tiny"])
def test_a_directory_comes_before_every_other_place(
    places: Places, tmp_path: Path, name: str
) -> None:
    places.fill_package()
    fill(tmp_path / name)

    source = _locate(name)

    assert (source.directory, source.place) == (Path(name), "local directory")
    assert source.row is ROW, "the catalogue's digest still holds"
    assert (source.repository, source.revision) == ("someone/tiny", REVISION)


def test_a_directory_of_any_other_name_is_in_no_catalogue(tmp_path: Path) -> None:
    source = _locate(str(fill(tmp_path / "mine")))

    assert (source.directory, source.row) == (tmp_path / "mine", None)
    assert (source.repository, source.revision) == ("mine", "local")


def test_a_directory_in_the_user_s_home_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    fill(tmp_path / "mine")

    assert _locate("~/mine").directory == tmp_path / "mine"


def test_a_directory_without_a_name_has_that_of_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fill(tmp_path / "mine"))

    assert _locate(".").repository == "mine"


def test_a_link_to_a_directory_is_a_directory(tmp_path: Path) -> None:
    fill(tmp_path / "v2")
    (tmp_path / "current").symlink_to("v2")

    assert _locate(str(tmp_path / "current")).directory == tmp_path / "current"


def test_a_model_is_found_by_its_repository_too(places: Places) -> None:
    places.fill_package()

    assert _locate(ROW.repository) == _locate(ROW.alias)


def test_offline_the_hub_is_not_asked(places: Places) -> None:
    places.fill_hub()

    with pytest.raises(ModelNotFound) as caught:
        _locate("tiny", offline=True)

    assert "Hugging Face hub: turned off by model.offline" in caught.value.places
    assert places.asked == []


def test_a_model_that_is_nowhere_names_every_place_and_what_is_missing_there(
    places: Places,
) -> None:
    with pytest.raises(ModelNotFound) as caught:
        _locate("tiny")

    assert caught.value.name == "tiny"
    assert [place.partition(":")[0] for place in caught.value.places] == [
        name for name, _ in PLACES
    ]
    assert "tiny_weights_carrier is not installed" in str(caught.value)
    assert "someone/tiny@01234567" in str(caught.value)


@pytest.mark.parametrize("fill_place", [place for _, place in PLACES])
def test_a_place_without_the_weights_file_does_not_have_the_model(
    places: Places, fill_place: Callable[[Places], Path]
) -> None:
    (fill_place(places) / WEIGHTS).unlink()

    with pytest.raises(ModelNotFound, match=f"has no {WEIGHTS}"):
        _locate("tiny")


def test_a_model_whose_weights_lie_in_the_folder_of_a_module_is_there(places: Places) -> None:
    snapshot = places.fill_hub_cache()
    (snapshot / WEIGHTS).unlink()
    (snapshot / "0_Transformer").mkdir()
    (snapshot / "0_Transformer" / WEIGHTS).write_bytes(CONTENT)

    assert _locate("tiny", offline=True).place == "Hugging Face cache"


def test_a_download_that_broke_off_between_two_shards_is_not_taken(places: Places) -> None:
    snapshot = places.fill_hub_cache()
    (snapshot / WEIGHTS).rename(snapshot / "a.safetensors")
    write_json(snapshot / SHARDS, {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}})
    places.fill_hub()

    source = _locate("tiny")

    assert source.place == "Hugging Face hub"


def test_a_cached_transformer_without_its_modules_is_not_taken_for_the_whole_model(
    places: Places,
) -> None:
    """The transformers library leaves such snapshots; the pooling would be a guess."""
    (places.fill_hub_cache() / "modules.json").unlink()
    places.fill_hub()

    source = _locate("tiny")

    assert source.place == "Hugging Face hub"
    assert places.asked == [("someone/tiny", REVISION)]


def test_offline_a_cached_transformer_is_better_than_nothing(places: Places) -> None:
    (places.fill_hub_cache() / "modules.json").unlink()

    assert _locate("tiny", offline=True).place == "Hugging Face cache"


def test_a_cached_model_that_is_known_to_have_no_modules_is_whole(places: Places) -> None:
    (places.fill_hub_cache() / "modules.json").unlink()
    mark = places.cached / ".no_exist" / REVISION / "modules.json"
    mark.parent.mkdir(parents=True)
    mark.touch()
    places.break_hub(AssertionError("the hub must not be asked"))

    assert _locate("tiny").place == "Hugging Face cache"


def test_a_repository_that_is_not_in_the_catalogue_needs_a_revision(places: Places) -> None:
    places.fill_hub()

    with pytest.raises(ConfigurationError, match=r"'someone/else'.*model\.revision"):
        _locate("someone/else")

    assert places.asked == []


def test_a_repository_is_downloaded_at_exactly_the_revision_that_is_named(
    places: Places,
) -> None:
    places.fill_hub()

    source = _locate("someone/else", revision=OTHER_REVISION)

    assert places.asked == [("someone/else", OTHER_REVISION)]
    assert (source.row, source.repository, source.revision) == (
        None,
        "someone/else",
        OTHER_REVISION,
    )


def test_a_repository_is_taken_from_the_cache_at_exactly_the_revision_that_is_named(
    places: Places,
) -> None:
    places.fill_hub_cache(REVISION)

    with pytest.raises(ModelNotFound, match="someone/tiny@fedcba98"):
        _locate("someone/tiny", revision=OTHER_REVISION, offline=True)

    snapshot = places.fill_hub_cache(OTHER_REVISION)
    assert _locate("someone/tiny", revision=OTHER_REVISION, offline=True).directory == snapshot


def test_a_package_is_of_no_use_for_another_revision(places: Places) -> None:
    places.fill_package()
    places.fill_hub()

    source = _locate("tiny", revision=OTHER_REVISION)

    assert (source.place, source.revision) == ("Hugging Face hub", OTHER_REVISION)
    assert places.asked == [("someone/tiny", OTHER_REVISION)]
    assert _locate("tiny", revision=REVISION).place == "installed package"


def test_a_directory_is_of_the_revision_that_the_settings_say(
    places: Places, tmp_path: Path
) -> None:
    fill(tmp_path / "tiny")

    assert _locate("tiny", revision=OTHER_REVISION).revision == OTHER_REVISION


@pytest.mark.parametrize(
    "name", ["else", "a/b/c", "/a/b", "./b", "../b", "~/b", "~nobody-has-this-name/b", "a\0/b/c"]
)
def test_a_name_that_is_no_repository_s_is_no_reason_to_look_anywhere(
    places: Places, name: str
) -> None:
    places.break_hub(AssertionError("the hub must not be asked"))

    with pytest.raises(ModelNotFound, match="no such directory; the catalogue, which has tiny"):
        _locate(name, revision=REVISION)


@pytest.mark.parametrize("name", ["a b/c", f"{'a' * 5000}/b", "a--b/c", "a\0/b"])
def test_a_name_that_the_hub_would_not_take_is_not_found(places: Places, name: str) -> None:
    with pytest.raises(ModelNotFound):
        _locate(name, revision=REVISION)


def test_a_hub_that_cannot_be_reached_does_not_have_the_model(places: Places) -> None:
    places.break_hub(OSError("connection reset"))

    with pytest.raises(ModelNotFound, match="hub: OSError"):
        _locate("tiny")


def test_a_proxy_that_refuses_is_a_hub_that_cannot_be_reached(places: Places) -> None:
    """The hub's client lets this error of its HTTP library through, and it is no `OSError`."""
    http = pytest.importorskip("httpx2")
    places.break_hub(http.ProxyError("403 Forbidden"))

    with pytest.raises(ModelNotFound, match="hub: ProxyError"):
        _locate("tiny")


@pytest.mark.parametrize("fill_place", [place for _, place in PLACES])
def test_a_config_that_asks_for_kernels_is_refused_wherever_it_was_found(
    places: Places, fill_place: Callable[[Places], Path]
) -> None:
    path = fill_place(places) / "1_Pooling" / "config.json"
    path.unlink()
    write_json(path, {"attn_implementation": "someone/kernels"})

    with pytest.raises(UnsafeModel, match="attn_implementation"):
        _locate("tiny")


def test_a_snapshot_may_hold_foreign_files_that_nobody_opens(places: Places) -> None:
    snapshot = places.fill_hub_cache()
    for name in ("pytorch_model.bin", "train_script.py"):
        (snapshot / name).touch()

    assert _locate("tiny").directory == snapshot
