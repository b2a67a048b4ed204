"""The stored rows of an index, which commands read and write without its service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deployments.data import SHARDS_FILE, claim_shards, index_directory, recorded_shards
from deployments.launch.preflight import load_applications, read_config
from deployments.settings.service import ServeSettings
from embedder.core.errors import ConfigurationError
from embedder.core.private_files import make_folder
from embedder.core.storage_errors import DirectoryInUse
from embedder.index.storage.opening import open_store
from embedder.index.storage.protocol import Snapshot, Store
from embedder.index.storage.stored_rows import read_rows
from embedder.settings.model import IndexSettings

CONFIGURATIONS = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class StoredIndex:
    """An index of some shards, each with a folder."""

    settings: IndexSettings
    directory: Path
    shards: int

    @property
    def names(self) -> list[str]:
        """Return the names of the shards, in order."""
        return [f"VectorIndex-{number}" for number in range(self.shards)]

    @property
    def folders(self) -> list[Path]:
        """Return the folders of the shards, in order."""
        return [self.directory / name for name in self.names]

    @contextmanager
    def rows(self) -> Iterator[list[Snapshot]]:
        """Yield the rows of each shard at one moment; nothing of them changes.

        Raises:
            ConfigurationError: a running service uses the files, or they cannot be opened.
            StorageDamaged: the file of a shard is damaged.
        """
        with ExitStack() as stack, naming_remedy():
            yield [stack.enter_context(read_rows(folder)) for folder in self.folders]

    @contextmanager
    def stores(self) -> Iterator[list[Store]]:
        """Yield the open store of each shard.

        Raises:
            ConfigurationError: a running service uses the files, or they cannot be opened.
            StorageDamaged: the file of a shard is damaged.
        """
        with ExitStack() as stack, naming_remedy():
            yield [stack.enter_context(closing(self._open(at))) for at in range(self.shards)]

    def _open(self, shard: int) -> Store:
        folder = self.folders[shard]
        make_folder(folder)
        settings = self.settings.model_copy(update={"directory": str(folder)})
        return open_store(settings, folder, shard, self.shards)


def find_index(store: str) -> StoredIndex:
    """Return the index of a configuration, or in a data directory.

    Raises:
        ConfigurationError: there is none, or the configuration is invalid.
    """
    settings = _settings(store)
    directory = _directory(settings)
    folders = [path for path in directory.glob("VectorIndex-*") if path.is_dir()]
    if not folders:
        raise ConfigurationError(f"there is no index in {directory}")
    return StoredIndex(settings.index, directory, recorded_shards(directory))


def find_or_create_index(store: str, shards: int | None, default: int) -> StoredIndex:
    """Return the index of a configuration, or in a data directory, and create it if it is missing.

    A new one has ``shards`` shards; None is the number of its configuration, or ``default``.

    Raises:
        ConfigurationError: the configuration is invalid, the index has another number of shards, or
            it cannot be created.
    """
    settings = _settings(store)
    directory = _directory(settings)
    if shards is None and _is_configuration(store):
        shards = settings.index.shards
    if shards is None:
        recorded = (directory / SHARDS_FILE).exists()
        shards = recorded_shards(directory) if recorded else default
    index = settings.index.model_copy(update={"shards": shards})
    claim_shards(settings.model_copy(update={"index": index}))
    return StoredIndex(index, directory, shards)


@contextmanager
def naming_remedy() -> Iterator[None]:
    """Say of files in use that their service must stop first."""
    try:
        yield
    except DirectoryInUse as error:
        raise ConfigurationError(
            f"{error.path} is in use by a running service ({error.owner}): stop it first"
        ) from error


def _settings(store: str) -> ServeSettings:
    path = Path(store)
    if _is_configuration(store):
        for _, loaded, _ in load_applications(read_config(path)):
            return loaded.settings
        raise ConfigurationError(f"{path} has no application of this service")
    return ServeSettings(data_directory=str(path.absolute()))


def _is_configuration(store: str) -> bool:
    return Path(store).suffix in CONFIGURATIONS and not Path(store).is_dir()


def _directory(settings: ServeSettings) -> Path:
    directory = index_directory(settings)
    if directory is None:
        raise ConfigurationError("data_directory is null, so the index has no files")
    return directory
