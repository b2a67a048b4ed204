"""Where models are looked for, in which order, and what is refused before anything is read."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from embedder.errors import ModelNotFound, UnsafeModel, WeightsMismatch
from embedder.models import catalogue
from embedder.models.catalogue import CATALOGUE, CatalogueRow, find
from embedder.models.weights import WEIGHTS, locate, sha256, verified_digest
from tests.tiny_models import write_json, write_layout

REVISION = "0123456789abcdef0123456789abcdef01234567"
ROW = CatalogueRow(
    alias="tiny",
    repository="someone/tiny",
    revision=REVISION,
    sha256=hashlib.sha256(b"weights").hexdigest(),
    width=32,
    licence="MIT",
    package="tiny_weights_carrier",
)


def _fill(directory: Path) -> Path:
    write_layout(directory)
    (directory / WEIGHTS).write_bytes(b"weights")
    return directory


class Places:
    """Every place that weights may come from, all empty at first."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.packages = root / "packages"
        self.hub_cache = root / "hub-cache"
        self.downloads = root / "downloads"
        self._patch = patch
        for folder in (self.packages, self.hub_cache, self.downloads):
            folder.mkdir()
        patch.setattr(catalogue, "CATALOGUE", (ROW,))
        patch.setattr(constants, "HF_HUB_CACHE", str(self.hub_cache))
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        patch.syspath_prepend(self.packages)
        patch.chdir(root)

    def fill_package(self) -> Path:
        package = self.packages / str(ROW.package)
        package.mkdir()
        (package / "__init__.py").write_text("raise RuntimeError('a carrier must not be run')\n")
        importlib.invalidate_caches()
        return _fill(package / "model")

    def fill_hub_cache(self) -> Path:
        return _fill(self.hub_cache / "models--someone--tiny" / "snapshots" / REVISION)

    def fill_hub(self) -> Path:
        directory = _fill(self.downloads)
        self.answer_downloads(lambda: str(directory))
        return directory

    def answer_downloads(self, answer: Callable[[], str]) -> None:
        """Answer in the hub's stead; lookups in its cache stay as they are."""
        look_up = huggingface_hub.snapshot_download

        def snapshot(repository: str, **wanted: Any) -> object:
            if wanted["local_files_only"]:
                return look_up(repository, **wanted)
            assert (repository, wanted["revision"]) == (ROW.repository, REVISION)
            return answer()

        self._patch.setattr(huggingface_hub, "snapshot_download", snapshot)

    def break_hub(self, error: Exception) -> None:
        def answer() -> str:
            raise error

        self.answer_downloads(answer)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    return Places(tmp_path, monkeypatch)


PLACES: list[tuple[str, Callable[[Places], Path]]] = [
    ("installed package", Places.fill_package),
    ("Hugging Face cache", Places.fill_hub_cache),
    ("Hugging Face hub", Places.fill_hub),
]


@pytest.mark.parametrize("first", range(len(PLACES)))
def test_the_first_place_that_has_the_model_is_taken(places: Places, first: int) -> None:
    directories = [fill(places) for _, fill in PLACES[first:]]

    source = locate("tiny", offline=False)

    assert source.directory.resolve() == directories[0].resolve()
    assert (source.place, source.row) == (PLACES[first][0], ROW)


def test_a_directory_comes_before_every_other_place(places: Places, tmp_path: Path) -> None:
    places.fill_package()
    _fill(tmp_path / "tiny")

    source = locate("tiny", offline=False)

    assert (source.directory, source.place) == (Path("tiny"), "local directory")
    assert source.row is ROW, "the catalogue's digest still holds"


def test_a_directory_of_any_other_name_is_in_no_catalogue(tmp_path: Path) -> None:
    source = locate(str(_fill(tmp_path / "mine")), offline=True)

    assert (source.directory, source.row) == (tmp_path / "mine", None)


def test_a_model_is_found_by_its_repository_too(places: Places) -> None:
    places.fill_package()

    assert locate(ROW.repository, offline=True) == locate(ROW.alias, offline=True)


def test_offline_the_hub_is_not_asked(places: Places) -> None:
    places.fill_hub()

    with pytest.raises(ModelNotFound) as caught:
        locate("tiny", offline=True)

    assert "Hugging Face hub: turned off by model.offline" in caught.value.places


def test_a_model_that_is_nowhere_names_every_place_and_what_is_missing_there(
    places: Places,
) -> None:
    with pytest.raises(ModelNotFound) as caught:
        locate("tiny", offline=False)

    assert caught.value.name == "tiny"
    assert [place.partition(":")[0] for place in caught.value.places] == [
        name for name, _ in PLACES
    ]
    assert "tiny_weights_carrier is not installed" in str(caught.value)
    assert "someone/tiny@01234567" in str(caught.value)


@pytest.mark.parametrize("fill", [Places.fill_package, Places.fill_hub_cache, Places.fill_hub])
def test_a_place_without_the_weights_file_does_not_have_the_model(
    places: Places, fill: Callable[[Places], Path]
) -> None:
    (fill(places) / WEIGHTS).unlink()

    with pytest.raises(ModelNotFound, match=f"has no {WEIGHTS}"):
        locate("tiny", offline=False)


def test_an_unknown_name_is_no_reason_to_look_anywhere(places: Places) -> None:
    places.break_hub(AssertionError("the hub must not be asked"))

    with pytest.raises(ModelNotFound, match="no such directory; the catalogue, which has all"):
        locate("someone/else", offline=False)


def test_a_hub_that_cannot_be_reached_does_not_have_the_model(places: Places) -> None:
    places.break_hub(OSError("connection reset"))

    with pytest.raises(ModelNotFound, match="hub: OSError"):
        locate("tiny", offline=False)


def test_a_proxy_that_refuses_is_a_hub_that_cannot_be_reached(places: Places) -> None:
    """The hub's client lets this error of its HTTP library through, and it is no `OSError`."""
    http = pytest.importorskip("httpx2")
    places.break_hub(http.ProxyError("403 Forbidden"))

    with pytest.raises(ModelNotFound, match="hub: ProxyError"):
        locate("tiny", offline=False)


@pytest.mark.parametrize("content", [b"", b"weights", b"x" * (2**20 + 1)])
def test_a_digest_is_the_sha256_of_the_whole_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / WEIGHTS
    path.write_bytes(content)

    assert sha256(path) == verified_digest(path, None) == hashlib.sha256(content).hexdigest()


def test_weights_that_the_catalogue_does_not_pin_are_refused_with_both_digests(
    tmp_path: Path,
) -> None:
    path = tmp_path / WEIGHTS
    path.write_bytes(b"weights")
    assert verified_digest(path, ROW) == ROW.sha256

    path.write_bytes(b"other")

    with pytest.raises(WeightsMismatch) as caught:
        verified_digest(path, ROW)

    actual = hashlib.sha256(b"other").hexdigest()
    assert caught.value.args == (str(path), ROW.sha256, actual)


@pytest.mark.parametrize(
    "name",
    ["modeling.py", "sub/deep/x.py", "pytorch_model.bin", "m.pkl", "m.pt", "m.ckpt"],
)
def test_a_file_that_could_run_code_is_refused_by_its_path(tmp_path: Path, name: str) -> None:
    path = _fill(tmp_path) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()

    with pytest.raises(UnsafeModel) as caught:
        locate(str(tmp_path), offline=True)

    assert str(path) in str(caught.value)


@pytest.mark.parametrize("folder", [".", "1_Pooling"])
def test_a_config_that_asks_for_code_of_its_own_is_refused(tmp_path: Path, folder: str) -> None:
    _fill(tmp_path)
    path = write_json(tmp_path / folder / "config.json", {"auto_map": {"AutoModel": "x.Y"}})

    with pytest.raises(UnsafeModel, match="auto_map") as caught:
        locate(str(tmp_path), offline=True)

    assert str(path) in str(caught.value)


def test_unsafe_files_are_refused_wherever_the_model_was_found(places: Places) -> None:
    (places.fill_hub_cache() / "modeling.py").touch()

    with pytest.raises(UnsafeModel, match=r"modeling\.py"):
        locate("tiny", offline=True)


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.alias)
def test_a_row_of_the_catalogue_pins_exact_weights(row: CatalogueRow) -> None:
    assert find(row.alias) is find(row.repository) is row
    assert (len(row.revision), len(row.sha256)) == (40, 64)
    assert int(row.revision, 16) > 0
    assert int(row.sha256, 16) > 0


def test_no_two_rows_of_the_catalogue_share_a_name() -> None:
    names = [name for row in CATALOGUE for name in {row.alias, row.repository}]

    assert len(names) == len(set(names))
    assert find("no-such-model") is None
