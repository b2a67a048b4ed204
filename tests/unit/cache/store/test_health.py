"""A store that fails is told once, and once more when it works again."""

from __future__ import annotations

import logging

import pytest

from embedder.cache.store.health import StoreHealth
from embedder.core.errors import StageUnavailable

FULL = StageUnavailable("cache store", "the disk is full")


@pytest.mark.parametrize(
    ("condition", "state"),
    [
        (StoreHealth(), "opening"),
        (StoreHealth(failing=True), "unavailable"),
        (StoreHealth(is_open=True, loading=True), "loading"),
        (StoreHealth(is_open=True), "ready"),
        (StoreHealth(is_open=True, loading=True, failing=True), "failing"),
        (StoreHealth(stopped=True, failing=True), "stopped"),
    ],
)
def test_the_state_is_one_word(condition: StoreHealth, state: str) -> None:
    assert condition.state == state


def test_failures_are_counted_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    condition = StoreHealth(is_open=True)

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            condition.failed(FULL)
        condition.recovered()
        condition.recovered()
        condition.failed(FULL)

    assert condition.failures == 4
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING", "ERROR"]
    assert "the disk is full" in caplog.messages[0]


def test_what_was_written_is_counted() -> None:
    condition = StoreHealth()

    condition.wrote(3, 1.0)
    condition.wrote(4, 2.5)

    assert (condition.written, condition.written_at) == (7, 2.5)
