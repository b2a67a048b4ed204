"""Threads search while others write and merge: nothing crashes, and every hit is right.

``INDEX_STRESS_S`` is the duration for each kind in seconds: 60 is the full run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.index.faults.crash_processes import ROOT

SECONDS = os.environ.get("INDEX_STRESS_S", "0.5")


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf_sq8"])
def test_sixteen_threads_search_during_writes_and_merges(kind: str, tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-m", "tests.unit.index.search.stress", SECONDS, kind, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert child.returncode == 0, child.stderr[-3000:]
    assert int(child.stdout) > 0
