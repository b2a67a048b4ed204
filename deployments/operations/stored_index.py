"""The stored rows of an index, which commands read and write without its service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from deployments.data import SHARDS_FILE, claim_shards, index_directory, recorded_shards
from deployments.launch.preflight import load_applications, read_config
from deployments.settings.service import ServedIndexSettings, ServeSettings
from embedder.core.errors import ConfigurationError, StageUnavailable
from embedder.core.private_files import make_folder
from embedder.core.storage_errors import DirectoryInUse, StorageFull, StorageReadOnly
from embedder.index.storage.opening import open_store
from embedder.index.storage.protocol import Store
from embedder.index.storage.reader import Snapshot
from embedder.index.storage.stored_rows import find_shards, read_rows

URLS = ("postgresql://", "postgres://")
CONFIGURATIONS = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class StoredIndex:
    """An index of some shards, in the database of ``settings.url`` or in the files of a directory.

    With a database, the directory holds snapshots, and is None if no configuration names it.
    """

    settings: ServedIndexSettings
    directory: Path | None
    shards: int

    @property
    def names(self) -> list[str]:
        """Return the names of the shards, in order."""
        return [f"VectorIndex-{number}" for number in range(self.shards)]

    @property
    def folders(self) -> list[Path | None]:
        """Return the folders of the shards, in order."""
        return [self.directory and self.directory / name for name in self.names]

    def is_same(self, other: StoredIndex) -> bool:
        """Say whether both are in the same place, by its name."""
        if self.settings.url is None or other.settings.url is None:
            return self.settings.url == other.settings.url and self.directory == other.directory
        return self.settings.url == other.settings.url

    @contextmanager
    def rows(self) -> Iterator[list[Snapshot]]:
        """Yield the rows of each shard at one moment; nothing of them changes.

        Raises:
            ConfigurationError: as `naming_remedy`, or the rows are not there.
            StorageDamaged: the file of a shard is damaged.
        """
        with ExitStack() as stack, naming_remedy():
            shards = enumerate(self.folders)
            yield [stack.enter_context(read_rows(self.settings, at, one)) for one, at in shards]

    @contextmanager
    def stores(self) -> Iterator[list[Store]]:
        """Yield the open store of each shard.

        Raises:
            ConfigurationError: as `naming_remedy`.
            StorageDamaged: the file of a shard is damaged.
        """
        with ExitStack() as stack, naming_remedy():
            yield [stack.enter_context(closing(self._open(at))) for at in range(self.shards)]

    def _open(self, shard: int) -> Store:
        folder = self.folders[shard]
        if folder is None or self.settings.url is not None:
            return open_store(self.settings, Path(), shard, self.shards)
        make_folder(folder)
        settings = self.settings.model_copy(update={"directory": str(folder)})
        return open_store(settings, folder, shard, self.shards)


def find_index(store: str) -> StoredIndex:
    """Return the index at a URL, of a configuration, or in a data directory.

    Raises:
        ConfigurationError: there is none, or the configuration is invalid.
    """
    settings, directory = _located(store)
    if settings.url is not None:
        with naming_remedy():
            shards = find_shards(settings.url.get_secret_value())
        if shards is None:
            raise ConfigurationError(f"there is no index in the database of {_named(store)}")
        return StoredIndex(settings, directory, shards)
    assert directory is not None
    folders = [path for path in directory.glob("VectorIndex-*") if path.is_dir()]
    if not folders:
        raise ConfigurationError(f"there is no index in {directory}")
    return StoredIndex(settings, directory, recorded_shards(directory))


def find_or_create_index(store: str, shards: int | None, default: int) -> StoredIndex:
    """Return the index as `find_index`, also one that does not exist yet.

    A new one has ``shards`` shards; None is the number of its configuration, or ``default``.

    Raises:
        ConfigurationError: the configuration is invalid, the index has another number of shards, or
            it cannot be created.
    """
    settings, directory = _located(store)
    if shards is None:
        stated = settings.shards if _is_configuration(store) else None
        shards = stated or _recorded(settings, directory) or default
    index = settings.model_copy(update={"shards": shards})
    if settings.url is None:
        assert directory is not None
        claim_shards(ServeSettings(data_directory=str(directory.parent), index=index))
    return StoredIndex(index, directory, shards)


@contextmanager
def naming_remedy() -> Iterator[None]:
    """Say what to do where a store cannot be used.

    Raises:
        ConfigurationError: a running service uses the files, or the disk or the database refuses.
    """
    try:
        yield
    except DirectoryInUse as error:
        raise ConfigurationError(
            f"{error.path} is in use by a running service ({error.owner}): stop it first"
        ) from error
    except StageUnavailable as error:
        raise ConfigurationError(
            f"{error.reason.strip()}: start the database, or correct its URL, and run the command "
            "again"
        ) from error
    except StorageFull as error:
        raise ConfigurationError(
            f"{error.path} has no space left: make room, and run the command again"
        ) from error
    except StorageReadOnly as error:
        raise ConfigurationError(f"{error.path} takes no writes: {error.reason}") from error


def _located(store: str) -> tuple[ServedIndexSettings, Path | None]:
    """Return the settings of an index, and its directory if it has one."""
    if store.startswith(URLS):
        return ServeSettings().index.model_copy(update={"url": SecretStr(store)}), None
    settings = _settings(store)
    directory = index_directory(settings)
    if directory is None and settings.index.url is None:
        raise ConfigurationError("data_directory is null, so the index has no files")
    return settings.index, directory


def _settings(store: str) -> ServeSettings:
    if not _is_configuration(store):
        return ServeSettings(data_directory=str(Path(store).absolute()))
    for _, loaded, _ in load_applications(read_config(Path(store))):
        return loaded.settings
    raise ConfigurationError(f"{store} has no application of this service")


def _is_configuration(store: str) -> bool:
    return Path(store).suffix in CONFIGURATIONS and not Path(store).is_dir()


def _recorded(settings: ServedIndexSettings, directory: Path | None) -> int | None:
    if settings.url is not None:
        with naming_remedy():
            return find_shards(settings.url.get_secret_value())
    assert directory is not None
    return recorded_shards(directory) if (directory / SHARDS_FILE).exists() else None


def _named(store: str) -> str:
    """Return how to name a store in a message: a URL may contain a password."""
    return "that URL" if store.startswith(URLS) else store
