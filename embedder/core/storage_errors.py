"""Errors of stored data.

    EmbedderError
    ├── StorageDamaged              stored data is damaged; nothing of it is deleted
    ├── ModelMismatch               vectors of two models would be compared
    ├── StaleCollection             the collection changed since the caller looked it up
    ├── Unavailable
    │   ├── StorageFull
    │   └── StorageReadOnly
    └── ConfigurationError
        ├── BadBackup
        ├── DirectoryInUse
        ├── NewerFormat
        └── NotWritten

The rest of the tree and its rules are in `embedder.core.errors`. Paths and reasons are for the
operator's log; messages of errors that clients may see contain neither.
"""

from __future__ import annotations

from dataclasses import dataclass

from embedder.core.errors import ConfigurationError, EmbedderError, Unavailable

UNNAMED = ""
"""Stands for the name of a collection where only a caller knows it."""


class StorageDamaged(EmbedderError, code="storage_damaged"):
    """Stored data is damaged; retrying will not help.

    ``collection`` names the collection whose rows are damaged, or is `UNNAMED` where only a caller
    knows the name. None: the whole file is damaged.
    """

    def __init__(self, path: str, problem: str, collection: str | None = None) -> None:
        super().__init__(path, problem, collection)
        self.path = path
        self.problem = problem
        self.collection = collection

    def __str__(self) -> str:
        if self.collection is not None:
            return (
                f"stored data of collection {self.collection!r} is damaged: restore it with "
                f"'embedder index restore BACKUP {self.collection} --replace'"
            )
        return (
            "stored data of the index is damaged: stop the service, run 'embedder index rebuild', "
            "and then 'embedder index restore BACKUP NAME --replace' for what it could not keep; a "
            "database is restored from its own backup"
        )

    def of(self, collection: str) -> StorageDamaged:
        """Return the same error with the name of its collection if that was `UNNAMED`."""
        name = collection if self.collection == UNNAMED else self.collection
        return StorageDamaged(self.path, self.problem, name)


@dataclass(eq=False, repr=False)
class ModelMismatch(EmbedderError, code="model_mismatch"):
    """A text would be embedded with another model than the vectors of its collection."""

    message = (
        "collection {collection!r} holds vectors of model {recorded}; this text "
        "would be embedded with {served}. Serve the model of the collection, or "
        "embed its texts with another one: 'embedder index reembed {collection}'"
    )
    collection: str
    recorded: str
    served: str


@dataclass(eq=False, repr=False)
class StaleCollection(EmbedderError, code="stale_collection"):
    """The collection was recreated, or records another model, since the caller looked it up.

    Not `Unavailable`, so that in a batch only this request fails.
    """

    message = "collection {name!r} changed while the request was answered; send it again"
    name: str


@dataclass(eq=False, repr=False)
class StorageFull(Unavailable, code="storage_full"):
    """The disk is full; reads continue, and writes as soon as there is space."""

    message = "no space is left to store this"
    path: str


@dataclass(eq=False, repr=False)
class StorageReadOnly(Unavailable, code="storage_read_only"):
    """The storage takes no writes: a disk failed, or no host of a database takes them; reads go on.

    After a disk failed, a restart is needed; a database is asked again by each write.
    """

    message = "the storage takes no writes at present"
    path: str
    reason: str


@dataclass(eq=False, repr=False)
class BadBackup(ConfigurationError, code="bad_backup"):
    """A backup is damaged, incomplete or of another kind; nothing of it was restored."""

    message = "{path} cannot be restored: {problem}"
    path: str
    problem: str


@dataclass(eq=False, repr=False)
class DirectoryInUse(ConfigurationError, code="directory_in_use"):
    """Another process owns the directory; ``owner`` is what that process wrote about itself."""

    message = "{path} is in use by another process ({owner}); each needs its own"
    path: str
    owner: str


@dataclass(eq=False, repr=False)
class NewerFormat(ConfigurationError, code="newer_format"):
    """Stored data has a format that needs a later version of this library."""

    message = (
        "{path} has format {found}; this version reads formats up to "
        "{supported}: install a later one"
    )
    path: str
    found: int
    supported: int


@dataclass(eq=False, repr=False)
class NotWritten(ConfigurationError, code="not_written"):
    """A file or folder of the operator cannot be written; no partial file is left."""

    message = "{path} cannot be written: {problem}"
    path: str
    problem: str
