"""Codes of PostgreSQL that mean a lost, full, read-only, unusable or damaged database.

Only the listed codes count: any other error is about the call, and not about the database.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from embedder.core.errors import ConfigurationError, EmbedderError, StageUnavailable
from embedder.core.storage_errors import StorageDamaged, StorageFull, StorageReadOnly

STAGE = "database of the index"

CONFLICTS = frozenset({"40001", "40P01", "55P03", "23505"})
"""A write met another one, and succeeds if it is repeated: serialization, deadlock, a lock that was
not available, and a name that another process has just taken.
"""

UNIQUE_PKS = frozenset({"points_pkey", "vectors_pkey"})
"""Constraints that only a damaged number of the next pk violates."""

LOST = frozenset(
    {"57P01", "57P02", "57P03", "57P05", "57014", "25P03", "25P04", "53200", "53300", "58030"}
)
"""The server shuts down, starts, recovers, has ended the session or a slow statement, or lacks
memory, connections or a file; and every code of class 08, connection exceptions.
"""

FULL = frozenset({"53100"})
READ_ONLY = frozenset({"25006"})
DAMAGED = frozenset({"XX001", "XX002", "58P01", "42P01"})
"""Data or an index is corrupted; a file or a table is missing."""

PRIVILEGES = frozenset({"42501"})
LOGIN = frozenset({"28000", "28P01"})
NO_DATABASE = frozenset({"3D000"})

_MESSAGES = (
    (r"session is read-only|server is in hot standby mode", "25006"),
    (r"password authentication failed|no password supplied", "28P01"),
    (r'no pg_hba\.conf entry|role ".*" does not exist|role ".*" is not permitted', "28000"),
    (r"authentication failed for user", "28000"),
    (r'database ".*" does not exist', "3D000"),
    (r"permission denied for database", "42501"),
)
"""Codes by message of a failed connection, to which libpq gives no code. A message in another
language counts as an unavailable server, and its reason is in the log.
"""


def is_conflict(error: BaseException) -> bool:
    """Say whether a write should be repeated because it met another one."""
    return (
        isinstance(error, psycopg.Error)
        and error.sqlstate in CONFLICTS
        and error.diag.constraint_name not in UNIQUE_PKS
    )


def database_error(error: BaseException, location: str) -> EmbedderError | None:
    """Return the error that a listed code of PostgreSQL means, or None."""
    if isinstance(error, EmbedderError):
        return error
    if not isinstance(error, psycopg.Error):
        return None
    if error.diag.constraint_name in UNIQUE_PKS:
        return StorageDamaged(location, "would assign a pk twice")
    # An error without a code is one of the connection, if it is an OperationalError.
    is_connection = error.sqlstate is None and isinstance(error, psycopg.OperationalError)
    return _known("08006" if is_connection else error.sqlstate or "", location, _reason(error))


def connect_error(error: psycopg.Error, location: str) -> EmbedderError:
    """Return the error that a failed attempt to connect means."""
    text = str(error)
    found = (code for pattern, code in _MESSAGES if re.search(pattern, text))
    code = error.sqlstate or next(found, "08001")
    return _known(code, location, _reason(error)) or StageUnavailable(STAGE, _reason(error))


@contextmanager
def translate_database_errors(location: str) -> Iterator[None]:
    """Translate exceptions with `database_error`, and raise others unchanged.

    Raises:
        ConfigurationError: the role lacks a privilege.
        StageUnavailable: the connection is lost, or the server does not serve at present.
        StorageDamaged: the server has found damaged data.
        StorageFull: the disk of the server is full.
        StorageReadOnly: the server only reads.
    """
    try:
        yield
    except Exception as error:
        known = database_error(error, location)
        if known is None or known is error:
            raise
        raise known from error


def _known(code: str, location: str, reason: str) -> EmbedderError | None:
    if code in DAMAGED:
        return StorageDamaged(location, reason)
    if code in FULL:
        return StorageFull(location)
    if code in READ_ONLY:
        return StorageReadOnly(location, reason)
    if code in LOST or code.startswith("08"):
        return StageUnavailable(STAGE, f"{location}: {reason}")
    problem = _configuration_problem(code)
    return None if problem is None else ConfigurationError(f"{location} {problem}")


def _configuration_problem(code: str) -> str | None:
    """Return what is wrong with the login, the database or the privileges, and what to do."""
    if code in LOGIN:
        return (
            "refuses the login: check the user and the password of index.url, PGPASSWORD or the "
            "password file, and the server's pg_hba.conf"
        )
    if code in NO_DATABASE:
        return "does not exist: create it with ENCODING 'UTF8', or correct index.url"
    if code in PRIVILEGES:
        return (
            "refuses the user of index.url a privilege: the user needs CONNECT and CREATE on the "
            "database, and must own the schema 'embedder' if there is one"
        )
    return None


def _reason(error: psycopg.Error) -> str:
    """Return the server's sentence without its details, which may repeat values of a row.

    A failed connection has only the sentences of libpq, which repeat no password.
    """
    if error.sqlstate is None and isinstance(error, psycopg.OperationalError):
        return str(error)
    return error.diag.message_primary or type(error).__name__
