"""A pool of encoders whose loads a test controls."""

from __future__ import annotations

import pytest

from embedder.inference.encoder_pool import EncoderPool
from tests.unit.inference.fake_loads import FakeLoads, encoder_pool


@pytest.fixture
def pool(loads: FakeLoads, monkeypatch: pytest.MonkeyPatch) -> EncoderPool:
    """Return a pool without a memory limit."""
    return encoder_pool(monkeypatch, loads)
