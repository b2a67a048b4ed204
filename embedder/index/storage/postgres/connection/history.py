"""Names the history of the rows that a connection sees.

A server has one history while it takes writes, so a connection that writes keeps the one it began
with. A host that takes over begins another timeline, and a table that a backup has restored has
another number.
"""

from __future__ import annotations

import logging
from functools import cache

import psycopg

from embedder.core.errors import ConfigurationError
from embedder.index.storage.postgres.connection.error_codes import translate_database_errors
from embedder.index.storage.postgres.connection.limited_connection import LimitedConnection

_FORMAT = "format('%s-%s-%s-%s', {}, {}, oid, to_regclass('embedder.collections')::oid)"
_DATABASE = "FROM pg_database WHERE datname = current_database()"
_HISTORY = f"SELECT {_FORMAT} {_DATABASE}".format(
    "(SELECT system_identifier FROM pg_control_system())",
    "left(pg_walfile_name(pg_current_wal_lsn()), 8)",
)
_START = f"SELECT {_FORMAT} {_DATABASE}".format(
    "'start'", "(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint"
)
"""A server that does not tell its timeline has another name after each start."""

logger = logging.getLogger(__name__)


def read_history(db: LimitedConnection, location: str) -> str:
    """Return the name of the history, which a file name may contain; ``db`` takes writes.

    Raises:
        StageUnavailable: the connection is lost.
    """
    try:
        return _value(db, _HISTORY, location)
    except (psycopg.Error, ConfigurationError):  # a managed server may keep its functions
        _warn(location)
        return _value(db, _START, location)


def _value(db: LimitedConnection, query: str, location: str) -> str:
    with translate_database_errors(location):
        ((value,),) = db.execute(query).fetchall()
    return str(value)


@cache
def _warn(location: str) -> None:
    logger.warning(
        "%s does not let its role call pg_control_system and pg_walfile_name: after each start of "
        "the server all points are read from the rows, because it may have lost writes",
        location,
    )
