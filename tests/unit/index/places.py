"""Where an index of a test keeps its points: a folder, or a database and a folder for snapshots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from embedder.settings.model import IndexSettings
from tests.unit.index.small_index import small_settings


@dataclass(frozen=True)
class Place:
    """The folder of one process, and the database that it may share with others."""

    folder: Path
    url: str | None = None

    def settings(self, **changed: object) -> IndexSettings:
        """Return settings with tiny thresholds for an index in this place."""
        given = {} if self.url is None else {"url": self.url}
        return small_settings(self.folder, **given, **changed)

    def beside(self, name: str) -> Place:
        """Return the place of another process; a file has only one."""
        if self.url is None:
            return self
        return Place(self.folder.with_name(name), f"{self.url}&application_name={name}")

    def wait_until_left(self) -> None:
        """Wait until the database works no longer for a killed process."""


PLACES: dict[str, Callable[[Path], Place]] = {"sqlite": Place}
"""How to make an empty place for each store, given a folder."""
