"""Keeps the password of the index's database out of the arguments that Ray logs and shows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from embedder.index.storage.disk.atomic_files import write_atomically

_WITH_PASSWORD = re.compile(r"(postgres(?:ql)?://[^:/?#@]*):([^/?#@]*)(@.*)", re.DOTALL)


def hide_passwords(document: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a Serve configuration whose URLs of databases name a file for their password.

    The files are in ``folder``, which must stay as long as the service runs. libpq reads such a
    file (``passfile``). Ray writes the arguments of an application into its logs, and its dashboard
    shows them.
    """
    applications = []
    for number, entry in enumerate(document["applications"]):
        index = (entry.get("args") or {}).get("index") or {}
        parts = _WITH_PASSWORD.fullmatch(str(index.get("url", "")))
        if parts is not None:
            # The same name at each deployment: a change of the arguments replaces all replicas.
            path = folder / f"database-{number}.password"
            _write(path, unquote(parts[2]))
            url = parts[1] + parts[3] + ("&" if "?" in parts[3] else "?")
            index = {**index, "url": f"{url}passfile={quote(str(path), safe='')}"}
            entry = {**entry, "args": {**entry["args"], "index": index}}
        applications.append(entry)
    return {**document, "applications": applications}


def _write(path: Path, password: str) -> None:
    """Write a password file for every host, port, database and user."""
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    content = f"*:*:*:*:{escaped}\n".encode()
    write_atomically(path, lambda file: file.write(content))
