"""The service of the tests of ``embedder index``, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deployments.commands import connecting
from deployments.launch.services.choice import Candidate
from deployments.operations import running_service as running
from tests.unit.deployments.index_service import IndexService


@pytest.fixture(autouse=True)
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[IndexService]:
    """Yield the service that commands find running."""
    made = IndexService(tmp_path / "data", 2)

    @contextmanager
    def connected(*_: object) -> Iterator[IndexService]:
        yield made

    monkeypatch.setattr(running, "running_service", connected)
    monkeypatch.setattr(connecting, "candidates", lambda: [Candidate("10.0.0.1:6379")])
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    yield made
    made.close()
