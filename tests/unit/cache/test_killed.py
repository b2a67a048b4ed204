"""A killed process loses at most the entries that it had not saved yet.

``TEST_KILLS=20`` kills as many.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from embedder.cache.store.sqlite_store import SqliteStore
from tests.unit.cache.busy_child import BATCH, WIDTH
from tests.unit.cache.known import by_key, key, records

ROOT = Path(__file__).parents[3]
KILLS = int(os.environ.get("TEST_KILLS", "3"))
MOST_BATCHES = 100
"""A child is killed after up to so many more batches than the first that it has saved."""


def _said(lines: Iterator[str], first: int, more: int) -> Iterator[tuple[int, int]]:
    """Yield the numbers of each line, until ``more`` lines after the first saved entry."""
    saved = False
    for line in lines:
        put, dirty = map(int, line.split())
        yield put, dirty
        saved = saved or put - dirty > first
        more -= saved
        if more < 0:
            return


def _killed(folder: Path, first: int, more: int) -> list[tuple[int, int]]:
    """Run a child, kill it after ``more`` batches that follow a save, and return its output."""
    command = [sys.executable, "-m", "tests.unit.cache.busy_child", str(folder), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout is not None
        said = [*_said(iter(child.stdout.readline, ""), first, more)]
        child.kill()
        rest = [line.split() for line in child.stdout if line.endswith("\n")]
    return said + [(int(put), int(dirty)) for put, dirty in rest]


def test_at_most_unsaved_entries_are_lost_and_none_is_wrong(tmp_path: Path) -> None:
    moments = random.Random(0)
    first = 0
    for _ in range(KILLS):
        said = _killed(tmp_path, first, moments.randrange(MOST_BATCHES))
        safe = max(put - dirty for put, dirty in said)
        store = SqliteStore(tmp_path / "a.sqlite")
        store.open()
        found = by_key(store.load())
        last = said[-1][0] + BATCH  # its line may not have been printed

        assert safe > first
        assert found.items() <= by_key([records(range(last), WIDTH)]).items()
        assert [number for number in range(safe) if key(number) not in found] == []
        assert (store.stats.corrupt, store.stats.renamed_files) == (0, 0)
        store.close()
        # Put lost entries again, so that all numbers below are present.
        first = min((number for number in range(last) if key(number) not in found), default=last)
