"""The measured batch budget of a model, which the processes of a node share.

Measuring takes each process a second or two of a core, while other processes of the service start
on the same cores. The first process measures while the others wait, so all have the same budget.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from embedder.backends.derived_files import derived_file
from embedder.batching.tuning import Measurement, Tuning
from embedder.core.errors import ConfigurationError

NAME = "tuning.json"

logger = logging.getLogger(__name__)


class _EndedByMemory(Exception):
    """Carries a tuning that is not stored, because another process may have more memory."""

    def __init__(self, tuning: Tuning) -> None:
        super().__init__(tuning.reason)
        self.tuning = tuning


def shared_tuning(
    folder: Path,
    facts: tuple[object, ...],
    measure: Callable[[], Tuning],
    works: Callable[[int], bool],
) -> Tuning:
    """Return the tuning stored for these facts; measure and store it if there is none.

    ``facts`` are all that the figures depend on. ``works`` tells whether a batch of so many tokens
    can be computed here: if not, the tuning of another process is of no use, and this one measures.
    If the folder is not writable, this process measures for itself and logs a warning.
    """
    key = hashlib.sha256(repr(facts).encode()).hexdigest()[:32]
    measured: list[Tuning] = []

    def create(staging: Path) -> None:
        measured.append(tuning := measure())
        if tuning.ended_by_memory:
            raise _EndedByMemory(tuning)
        (staging / NAME).write_text(json.dumps(asdict(tuning)))

    try:
        path = derived_file(folder, key, NAME, create)
    except _EndedByMemory as limited:
        return limited.tuning
    except ConfigurationError as error:
        logger.warning("the batch budget is not shared between processes: %s", error)
        return measured[0] if measured else measure()
    if measured:
        return measured[0]
    stored = _read(path)
    return stored if works(stored.max_tokens) else measure()


def _read(path: Path) -> Tuning:
    stored = json.loads(path.read_bytes())
    curve = tuple(Measurement(**point) for point in stored["curve"])
    return Tuning(stored["max_tokens"], curve, stored["reason"])
