"""The thread that follows the log reports an outage once, and goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from embedder.core.errors import ConfigurationError, StageUnavailable
from embedder.index.collection import follower
from embedder.index.collection.follower import FollowingThread
from tests.unit.waiting import eventually

REFUSED = ConfigurationError("the database refuses the login")


@pytest.fixture(autouse=True)
def _impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "FOLLOW_S", 0.0)


def test_a_refused_login_is_reported_once_per_outage(caplog: pytest.LogCaptureFixture) -> None:
    down = StageUnavailable("database", "down")
    outcomes = [REFUSED, REFUSED, down, REFUSED, None, REFUSED, REFUSED]
    left: Iterator[Exception | None] = iter(outcomes)
    steps = []

    def follow() -> None:
        outcome = next(left, None)
        steps.append(outcome)
        if outcome is not None:
            raise outcome

    with closing(FollowingThread(follow)):
        assert eventually(lambda: len(steps) > len(outcomes))

    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "the log of the index cannot be read: the database refuses the login"
    ] * 2
    assert not any(record.exc_info for record in caplog.records if record.levelname == "ERROR")
