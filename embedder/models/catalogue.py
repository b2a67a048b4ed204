"""Look up a model in the catalogue, and the names that clients may call it.

Only the operator adds rows; a client can only send a name.
"""

from __future__ import annotations

from pathlib import Path

from embedder.models.catalogue_row import CatalogueRow
from embedder.models.catalogue_rows import ROWS
from embedder.settings.model import ModelSettings

CATALOGUE = ROWS


def find_row(name: str) -> CatalogueRow | None:
    """Return the row with this alias or repository name, or None."""
    return next((row for row in CATALOGUE if name in (row.alias, row.repository)), None)


def model_names(settings: ModelSettings) -> tuple[str, ...]:
    """Return the names that clients may send for a model; responses carry the first one."""
    row = find_row(settings.name)
    published = (row.alias, row.repository) if row else (_base_name(settings.name),)
    chosen = (settings.alias, *published) if settings.alias else published
    return tuple(dict.fromkeys((*chosen, settings.name)))


def _base_name(name: str) -> str:
    """Return a repository's name without its owner, or a directory's own name, also for "."."""
    return Path(name).name or Path(name).resolve().name or "model"
