"""serve_cluster.yaml as its operator edits it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from deployments.ingress.middleware.keys import digest

ROOT = Path(__file__).parents[2]


def arguments() -> dict[str, Any]:
    """Return the shipped arguments."""
    shipped: dict[str, Any] = _shipped()["applications"][0]["args"]
    return shipped


def service(key: str, **arguments: Any) -> dict[str, Any]:
    """Return the configuration with a key that is good for everything, and further arguments."""
    document = _shipped()
    entry = {"name": "test", "sha256": digest(key.encode()), "scopes": ["read", "write", "admin"]}
    document["applications"][0]["args"].update({"keys": [entry], **arguments})
    return document


def _shipped() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "serve_cluster.yaml").read_text())
    return document
