"""The models known by name, and what clients may call them.

Only the operator adds rows; a client names an alias. Knows nothing of files or of loading.
"""

from __future__ import annotations

from pathlib import Path

from embedder.models.catalogue_row import CatalogueRow
from embedder.models.catalogue_rows import ROWS
from embedder.settings.model import ModelSettings

CATALOGUE = ROWS


def find_row(name: str) -> CatalogueRow | None:
    """Return the row with this alias or repository name."""
    return next((row for row in CATALOGUE if name in (row.alias, row.repository)), None)


def model_names(settings: ModelSettings) -> tuple[str, ...]:
    """Return what clients may call the model of these settings; the first is what answers say."""
    row = find_row(settings.name)
    published = (row.alias, row.repository) if row else (_last_part(settings.name),)
    chosen = (settings.alias, *published) if settings.alias else published
    return tuple(dict.fromkeys((*chosen, settings.name)))


def _last_part(name: str) -> str:
    """Return the name of a repository without its owner, or that of a directory, "." too."""
    return Path(name).name or Path(name).resolve().name or "model"
