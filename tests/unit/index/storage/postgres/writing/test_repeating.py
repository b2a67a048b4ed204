"""A failed transaction is repeated, divided or given up."""

from __future__ import annotations

from itertools import islice

import pytest

from embedder.core.errors import InvalidInput, StageUnavailable
from embedder.core.storage_errors import StorageDamaged, StorageFull, StorageReadOnly

pytest.importorskip("psycopg", reason="psycopg is not installed")

from psycopg import errors

from embedder.index.storage.postgres.writing.repeating import (
    MAX_PAUSE_S,
    Next,
    after_failure,
    is_final,
    pauses,
)

LOST, CONFLICT = StageUnavailable("database", "lost"), errors.DeadlockDetected()
DAMAGED = StorageDamaged("here", "is damaged")


@pytest.mark.parametrize(
    ("error", "writes", "left_s", "expected"),
    [
        (LOST, 1, 1.0, Next.REPEAT),
        (LOST, 2, 1.0, Next.REPEAT),
        (LOST, 2, 0.0, Next.FAIL),
        (CONFLICT, 1, 1.0, Next.REPEAT),
        (CONFLICT, 1, -1.0, Next.FAIL),
        (CONFLICT, 2, 1.0, Next.DIVIDE),
        (StorageFull("here"), 2, 1.0, Next.DIVIDE),
        (StorageFull("here"), 1, 1.0, Next.FAIL),
        (StorageReadOnly("here", "a standby"), 1, 1.0, Next.FAIL),
        (InvalidInput("points", "is refused"), 1, 1.0, Next.FAIL),
        (ValueError(), 2, 0.0, Next.DIVIDE),
        (DAMAGED, 2, 1.0, Next.FAIL),
        (LOST, 0, 1.0, Next.FAIL),
    ],
)
def test_the_error_and_the_time_decide(
    error: Exception, writes: int, left_s: float, expected: Next
) -> None:
    assert after_failure(error, writes, left_s) is expected


def test_only_damage_of_the_database_is_final() -> None:
    assert is_final(DAMAGED)
    assert not is_final(StorageDamaged("here", "is damaged", "docs"))
    assert not is_final(StorageReadOnly("here", "a standby"))


def test_pauses_grow_to_a_limit() -> None:
    found = list(islice(pauses(), 20))

    assert found == sorted(found)
    assert 0 < found[0] < found[-1] == MAX_PAUSE_S
