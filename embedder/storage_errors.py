"""The part of the error tree that only what is kept on disk has.

    EmbedderError
    ├── StorageDamaged              what is stored cannot be trusted; nothing of it is deleted
    ├── Unavailable
    │   ├── StorageFull
    │   └── StorageReadOnly
    └── ConfigurationError
        ├── BadBackup
        ├── DirectoryInUse
        └── NewerFormat

The rest of the tree is in `embedder.errors`, and so are the rules for it. Paths and reasons are
for the operator's log: the sentences of what a client may see hold neither.
"""

from __future__ import annotations

from embedder.errors import ConfigurationError, EmbedderError, Unavailable


class StorageDamaged(EmbedderError):
    """Stored data is not what was written; retrying will not help."""

    code = "storage_damaged"

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return "the stored data is damaged; restore it from a backup"


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
