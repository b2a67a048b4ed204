"""A failing store is logged once, and its recovery once."""

from __future__ import annotations

import logging

import pytest

from embedder.cache.store.health import StoreHealth
from embedder.core.errors import StageUnavailable

FULL = StageUnavailable("cache store", "the disk is full")


@pytest.mark.parametrize(
    ("health", "state"),
    [
        (StoreHealth(), "opening"),
        (StoreHealth(failing=True), "unavailable"),
        (StoreHealth(is_open=True, loading=True), "loading"),
        (StoreHealth(is_open=True), "ready"),
        (StoreHealth(is_open=True, loading=True, failing=True), "failing"),
        (StoreHealth(stopped=True, failing=True), "stopped"),
    ],
)
def test_the_state_is_one_word(health: StoreHealth, state: str) -> None:
    assert health.state == state


def test_failures_are_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    health = StoreHealth(is_open=True)

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            health.failed(FULL)
        health.recovered()
        health.recovered()
        health.failed(FULL)

    assert health.failures == 4
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING", "ERROR"]
    assert "the disk is full" in caplog.messages[0]


def test_written_entries_are_counted() -> None:
    health = StoreHealth()

    health.wrote(3, 1.0)
    health.wrote(4, 2.5)

    assert (health.written, health.written_at) == (7, 2.5)
