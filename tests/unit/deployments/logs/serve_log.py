"""Serve's log of a replica, written to a file by Serve's own handlers, in this process."""

from __future__ import annotations

import builtins
import json
import logging
import logging.handlers
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.serve._private.common import ServeComponentType
from ray.serve._private.logging_utils import configure_component_logger
from ray.serve.schema import EncodingType, LoggingConfig

from deployments.logs.replica_log import SERVE_LOGGER, RepeatFilter, configure_replica_log
from deployments.settings.logs import LogSettings

MAX_BYTES = 20_000_000


class LogFile:
    """The file of one replica's log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def lines(self) -> list[str]:
        """Return the lines of the file, split at newlines only."""
        (path,) = self.folder.glob("*.log")
        return path.read_text("utf-8").split("\n")[:-1]

    def records(self) -> list[dict[str, Any]]:
        """Return the records of a file in JSON."""
        return [json.loads(line) for line in self.lines()]

    def size(self) -> int:
        """Return the bytes of the file and of those before it."""
        return sum(path.stat().st_size for path in self.folder.iterdir())


@contextmanager
def serve_log(
    folder: Path, encoding: EncodingType = EncodingType.TEXT, **settings: Any
) -> Iterator[LogFile]:
    """Log to a folder as a replica of Serve does, and put all loggers back at the end."""
    serve, root, library = map(logging.getLogger, (SERVE_LOGGER, None, "embedder"))
    loggers = [(one, one.handlers[:], one.filters[:], one.level) for one in (serve, root, library)]
    raising = logging.raiseExceptions
    propagate, streams, printing = serve.propagate, (sys.stdout, sys.stderr), builtins.print
    try:
        configure_component_logger(
            component_name="embedder_Ingress",
            component_id="ab12",
            component_type=ServeComponentType.REPLICA,
            logging_config=LoggingConfig(
                encoding=encoding, logs_dir=str(folder), enable_access_log=False
            ),
            max_bytes=MAX_BYTES,
            backup_count=2,
        )
        configure_replica_log(LogSettings(**settings))
        yield LogFile(folder)
    finally:
        for handler in serve.handlers:
            if isinstance(handler, logging.handlers.MemoryHandler) and handler.target is not None:
                handler.target.close()
            handler.close()
        for one in serve.filters:
            if isinstance(one, RepeatFilter):
                one.close()
        for logger, handlers, filters, level in loggers:
            logger.handlers[:], logger.filters[:] = handlers, filters
            logger.setLevel(level)
        serve.propagate, logging.raiseExceptions = propagate, raising
        (sys.stdout, sys.stderr), builtins.print = streams, printing
