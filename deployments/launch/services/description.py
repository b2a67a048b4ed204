"""What `embedder serve` writes about its service into the service's folder, for other commands.

Keep the imports few, as `instances` does.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "description.json"


@dataclass(frozen=True, slots=True)
class ServiceDescription:
    """Where a service answers, and what it was started from.

    ``url`` has its routes. ``config`` is the path of its Serve configuration, ``started_in`` the
    working folder of `embedder serve`, ``started_at`` a time in ISO 8601. ``token_file`` has the
    token of its Ray; None if Ray requires none or `RAY_AUTH_TOKEN` holds it. ``dashboard`` is the
    URL of Ray's dashboard, ``logs`` the folder of Serve's logs; None until the service is ready.
    """

    url: str
    config: str | None = None
    started_in: str | None = None
    started_at: str | None = None
    token_file: str | None = None
    version: str | None = None
    dashboard: str | None = None
    logs: str | None = None


def write_description(folder: Path, description: ServiceDescription) -> None:
    """Write or replace the description in a service's folder, which only this user can read."""
    written = folder / f"{FILE}.new"
    written.write_text(json.dumps(asdict(description)))
    written.rename(folder / FILE)


def read_description(folder: Path) -> ServiceDescription | None:
    """Return the description in a service's folder; None if the file is missing or invalid."""
    try:
        return ServiceDescription(**json.loads((folder / FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None
