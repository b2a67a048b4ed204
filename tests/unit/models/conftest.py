"""A tiny model on disk, and the places that models are looked for in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.models.model_sources import Places, fill


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Return the directory of a model that can be opened."""
    return fill(tmp_path / "tiny")


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """Return every place that weights may come from, empty."""
    return Places(tmp_path, monkeypatch)
