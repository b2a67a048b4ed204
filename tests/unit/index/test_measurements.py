"""What the store of a shard counts, for metrics."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from embedder.core.errors import NotFound, StageUnavailable
from embedder.index.contract.points import Points
from embedder.index.storage.protocol import Effect, Transaction
from embedder.index.vector_index import VectorIndex
from tests.unit.index.small_index import small_settings

POINTS = Points(["x"], np.ones((1, 2), np.float32), ["text"], [{}])

pytestmark = pytest.mark.every_store


def test_commits_are_timed_and_their_writes_counted(tmp_path: Path) -> None:
    with closing(VectorIndex(small_settings(tmp_path), background=False)) as index:
        index.upsert("c", POINTS)
        store = index._shard.opened
        assert store is not None
        store.run_exclusively(lambda: None)  # after the writer has counted the upsert
        measured = index.measurements()

        assert measured.commits.writes > 0
        assert measured.commits.failures == 0
        assert 0 < measured.commits.seconds.count <= measured.commits.writes
        assert set(measured.connections) == {"busy", "idle"}
        assert measured.connections["busy"] == 0
        assert 0 <= measured.follower_lag_s < 180


@pytest.mark.parametrize(
    ("error", "failures"), [(StageUnavailable("store", "gone"), 1), (NotFound("name", "x"), 0)]
)
def test_a_write_that_is_wrong_is_no_failure_of_the_store(
    tmp_path: Path, error: Exception, failures: int
) -> None:
    with closing(VectorIndex(small_settings(tmp_path), background=False)) as index:
        store = index._shard.opened
        assert store is not None

        def write(_: Transaction) -> Effect[None]:
            raise error

        future = store.submit(write)
        assert isinstance(future.exception(), type(error))
        store.run_exclusively(lambda: None)  # after the counters of the first group
        assert store.commits.failures == failures
