"""Connects to the database of a service; its credentials appear in no message.

A URL is one of libpq: it may name several hosts, and leave the password to ``PGPASSWORD``, a
password file or a service file.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from embedder.core.errors import ConfigurationError
from embedder.index.storage.postgres.connection.error_codes import (
    connect_error,
    translate_database_errors,
)
from embedder.index.storage.postgres.connection.limited_connection import LimitedConnection

MIN_VERSION = 13
"""The oldest major version of PostgreSQL with all statements of the store."""

CONNECT_S = 3
"""Seconds for each host to answer, unless the URL states ``connect_timeout``."""

SILENT_MS = 10_000
"""Milliseconds after which a connection whose host no longer acknowledges data is lost."""

_CHECK = """
SELECT current_setting('server_version'), current_setting('server_version_num')::integer,
    current_setting('server_encoding'),
    set_config('plan_cache_mode', 'force_custom_plan', false),
    CASE WHEN current_setting('synchronous_commit') = 'off'
        THEN set_config('synchronous_commit', 'on', false) END
"""
"""Also sets what the store relies on. A plan that was made for a small table, and kept, would scan
a large one.
"""


def location_of(url: str) -> str:
    """Return the hosts and the name of the database, for messages.

    Raises:
        ConfigurationError: libpq cannot read the URL.
    """
    given = _parameters(url)
    hosts, ports = (str(given.get(name, "")).split(",") for name in ("host", "port"))
    ports *= len(hosts) if len(ports) == 1 else 1
    named = [
        f"{host or 'localhost'}:{port}" if port else host or "localhost"
        for host, port in zip(hosts, ports, strict=False)
    ]
    return f"PostgreSQL database {given.get('dbname') or 'of the user'!r} at {', '.join(named)}"


def connect(url: str, *, writable: bool) -> LimitedConnection:
    """Return a connection in autocommit mode; ``writable`` passes over hosts that only read.

    Raises:
        ConfigurationError: the URL, the login, the version or the encoding is wrong.
        StageUnavailable: no host answers.
        StorageReadOnly: ``writable``, and every host that answers only reads.
    """
    location = location_of(url)
    wanted: dict[str, Any] = {
        "connect_timeout": CONNECT_S,
        "tcp_user_timeout": SILENT_MS,
        "application_name": "embedder",
        "target_session_attrs": "read-write" if writable else "any",
    }
    given = wanted | _parameters(url) | {"client_encoding": "utf8"}
    try:
        db = LimitedConnection.connect(autocommit=True, **given)
    except psycopg.Error as error:
        # Without the cause, whose text may repeat parts of the URL.
        raise connect_error(error, location) from None
    try:
        with translate_database_errors(location):
            _check(db, location)
    except BaseException:
        db.close()
        raise
    return db


def _check(db: LimitedConnection, location: str) -> None:
    row = db.execute(_CHECK).fetchone()
    assert row is not None
    version, number, encoding, *_ = row
    if number < MIN_VERSION * 10_000:
        raise ConfigurationError(
            f"{location} has version {version} of PostgreSQL; the index needs {MIN_VERSION} or "
            "a later one"
        )
    if encoding != "UTF8":
        raise ConfigurationError(
            f"{location} has the encoding {encoding}; the index needs one that was created with "
            "ENCODING 'UTF8'"
        )


def _parameters(url: str) -> dict[str, Any]:
    try:
        return dict(conninfo_to_dict(url))
    except psycopg.Error:
        # Without the cause, which repeats a part of the URL.
        raise ConfigurationError(
            "index.url is not a URL of PostgreSQL: write postgresql://user@host:5432/database, "
            "with reserved characters percent-encoded"
        ) from None
