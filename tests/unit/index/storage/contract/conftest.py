"""Fixtures: each test of the contract runs over every store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from embedder.index.storage.protocol import Store
from tests.unit.index.storage.contract.stores import STORES, Opener


@pytest.fixture(params=STORES)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    opener = Opener(request.param, tmp_path)
    yield opener
    opener.close()


@pytest.fixture
def store(opener: Opener) -> Store:
    return opener.store
