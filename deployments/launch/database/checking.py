"""The check of the database and the object store of the index before the service starts."""

from __future__ import annotations

import logging

from deployments.data import claim_database
from deployments.settings.service import ServeSettings
from embedder.core.errors import Unavailable
from embedder.core.storage_errors import StorageReadOnly
from embedder.index.objects.object_store import check_driver
from embedder.index.storage.opening import check_database

logger = logging.getLogger(__name__)


def check_index_database(settings: ServeSettings) -> None:
    """Check that the index can use its database, if it has one; only warn if that is down.

    Raises:
        ConfigurationError: the login, the version, the encoding or the privileges are wrong, or the
            database is that of another service or another program; or the driver of
            ``index.snapshots`` is not installed.
        MissingExtra: psycopg or fsspec is not installed.
        StorageDamaged: the database has lost tables of the index.
    """
    url = settings.index.url
    if url is None:
        return
    if settings.index.snapshots is not None:
        check_driver(settings.index.snapshots)
    try:
        identity = check_database(url, settings.index.shards)
    except Unavailable as error:
        reason = getattr(error, "reason", "") or str(error)
        state = "takes no writes" if isinstance(error, StorageReadOnly) else "does not answer"
        logger.warning(
            "warning: the database of the index %s (%s); the service starts, and answers requests "
            "that need the database with 503 until it does",
            state,
            " ".join(reason.split()),
        )
        return
    claim_database(settings, identity)
