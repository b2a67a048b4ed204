"""The shipped configurations of a cluster as their operator edits them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from deployments.ingress.middleware.keys import digest

ROOT = Path(__file__).parents[2]


FILE = "serve_cluster.yaml"


def arguments(file: str = FILE) -> dict[str, Any]:
    """Return the shipped arguments."""
    shipped: dict[str, Any] = _shipped(file)["applications"][0]["args"]
    return shipped


def service(key: str, file: str = FILE, **arguments: Any) -> dict[str, Any]:
    """Return the configuration with a key that is good for everything, and further arguments."""
    document = _shipped(file)
    entry = {"name": "test", "sha256": digest(key.encode()), "scopes": ["read", "write", "admin"]}
    document["applications"][0]["args"].update({"keys": [entry], **arguments})
    return document


def _shipped(file: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / file).read_text())
    return document
