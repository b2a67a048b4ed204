"""A killed process loses at most the entries that it had not saved yet."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

from embedder.cache.store.sqlite_store import SqliteStore
from tests.unit.cache.busy_child import BATCH, SETTINGS, WIDTH
from tests.unit.cache.known import by_key, key, records

ROOT = Path(__file__).parents[3]
KILLS = 6
ALLOWANCE_S = 0.5
"""Entries that may be lost beside those that wait to be saved."""


def _killed(folder: Path, first: int, after_s: float) -> tuple[list[tuple[int, float]], float]:
    """Run a child for some seconds, kill it, and return its output and the time of the kill."""
    command = [sys.executable, "-m", "tests.unit.cache.busy_child", str(folder), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline()]
        time.sleep(after_s)
        killed_at = time.monotonic()
        child.kill()
        lines += child.stdout.readlines()
    said = [line.split() for line in lines if line.endswith("\n")]
    return [(int(number), float(at)) for number, at in said], killed_at


def test_at_most_unsaved_entries_are_lost_and_none_is_wrong(tmp_path: Path) -> None:
    moments = random.Random(0)
    first = 0
    for _ in range(KILLS):
        said, killed_at = _killed(tmp_path, first, moments.uniform(0.5, 1.5))
        # On a busy machine the child may have paused; then it could not save either.
        pause_s = max(after - before for (_, before), (_, after) in pairwise(said))
        safe_until = killed_at - SETTINGS.autosave_s - ALLOWANCE_S - pause_s
        safe = max((number for number, at in said if at < safe_until), default=first)
        store = SqliteStore(tmp_path / "a.sqlite")
        store.open()
        found = by_key(store.load())
        last = said[-1][0] + BATCH  # its line may not have been printed

        assert found.items() <= by_key([records(range(last), WIDTH)]).items()
        assert [number for number in range(safe) if key(number) not in found] == []
        assert (store.stats.corrupt, store.stats.renamed_files) == (0, 0)
        store.close()
        # Put lost entries again, so that all numbers below are present.
        first = min((number for number in range(last) if key(number) not in found), default=last)
    assert first > 0
