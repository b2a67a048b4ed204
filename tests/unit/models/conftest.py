"""A tiny model on disk, and simulated sources of weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.models.model_sources import FakeSources, fill


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Return the directory of a model that can be opened."""
    return fill(tmp_path / "tiny")


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSources:
    """Return all sources of weights, empty."""
    return FakeSources(tmp_path, monkeypatch)
