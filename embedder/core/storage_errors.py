"""The part of the error tree that belongs to stored data.

    EmbedderError
    ├── StorageDamaged              what is stored cannot be trusted; nothing of it is deleted
    ├── ModelMismatch               vectors of two models would be compared
    ├── StaleCollection             the collection is another one than the caller looked up
    ├── Unavailable
    │   ├── StorageFull
    │   └── StorageReadOnly
    └── ConfigurationError
        ├── BadBackup
        ├── DirectoryInUse
        ├── NewerFormat
        └── NotWritten

The rest of the tree and its rules are in `embedder.core.errors`. Paths and reasons are
for the operator's log: the sentences of what a client may see hold neither.
"""

from __future__ import annotations

from embedder.core.errors import ConfigurationError, EmbedderError, Unavailable

UNNAMED = ""
"""The name of a collection that only a caller knows."""


class StorageDamaged(EmbedderError):
    """Stored data is not what was written; retrying will not help.

    ``collection`` names the one whose rows are damaged, the file around them being sound; it is
    `UNNAMED` where only a caller knows the name, and None where the file itself is damaged.
    """

    code = "storage_damaged"

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
            "stored data of the index is damaged: stop the service, run 'embedder index repair', "
            "and then 'embedder index restore BACKUP NAME --replace' for what it could not keep"
        )

    def of(self, collection: str) -> StorageDamaged:
        """Return the same error with the name of its collection, where that is missing."""
        name = collection if self.collection == UNNAMED else self.collection
        return StorageDamaged(self.path, self.problem, name)


class ModelMismatch(EmbedderError):
    """A text belongs to another model than the vectors of its collection."""

    code = "model_mismatch"

    def __init__(self, collection: str, recorded: str, served: str) -> None:
        super().__init__(collection, recorded, served)
        self.collection = collection
        self.recorded = recorded
        self.served = served

    def __str__(self) -> str:
        return (
            f"collection {self.collection!r} holds vectors of model {self.recorded}; this text "
            f"would be embedded with {self.served}. Serve the model of the collection, or "
            f"embed its texts with another one: 'embedder index reembed {self.collection}'"
        )


class StaleCollection(EmbedderError):
    """The collection was made again, or records another model, since the caller looked it up.

    Not `Unavailable`, so that a batch with such a request fails for this request alone.
    """

    code = "stale_collection"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"collection {self.name!r} changed while the request was answered; send it again"


class StorageFull(Unavailable):
    """No space is left for what was sent; reads go on, and writes as soon as there is some."""

    code = "storage_full"

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return "no space is left to store this"


class StorageReadOnly(Unavailable):
    """A write failed so that no later one can be trusted; reads go on until a restart mends it."""

    code = "storage_read_only"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return "the storage takes no writes until it is restarted"


class BadBackup(ConfigurationError):
    """A backup is damaged, incomplete, or of something else; nothing of it was restored."""

    code = "bad_backup"

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.path} cannot be restored: {self.problem}"


class DirectoryInUse(ConfigurationError):
    """Another process owns the directory; ``owner`` is what it wrote of itself."""

    code = "directory_in_use"

    def __init__(self, path: str, owner: str) -> None:
        super().__init__(path, owner)
        self.path = path
        self.owner = owner

    def __str__(self) -> str:
        return f"{self.path} is in use by another process ({self.owner}); each needs its own"


class NewerFormat(ConfigurationError):
    """Stored data has a format that only a later version of this library reads."""

    code = "newer_format"

    def __init__(self, path: str, found: int, supported: int) -> None:
        super().__init__(path, found, supported)
        self.path = path
        self.found = found
        self.supported = supported

    def __str__(self) -> str:
        return (
            f"{self.path} has format {self.found}; this version reads formats up to "
            f"{self.supported}: install a later one"
        )


class NotWritten(ConfigurationError):
    """A file or folder that the operator named cannot be written; nothing of it is left."""

    code = "not_written"

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.path} cannot be written: {self.problem}"
