"""The benchmark of the cache's store measures what it says, on a file that is small enough here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.cache_store import CHUNK, main


def test_a_small_run_has_every_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--megabytes", "1", "--width", "64", "--rounds", "1", "--seconds", "0.1"]

    main([*options, "--directory", str(tmp_path)])

    *table, document = capsys.readouterr().out.splitlines()
    figures = json.loads(document)
    assert figures["rows"] == 10**6 // 256 // CHUNK * CHUNK
    assert {line.split()[0] for line in table} == figures.keys() - {"rounds"}
    assert all(figures[name] > 0 for name in figures.keys() - {"rounds", "held_p99_ms", "held_ms"})
    (one,) = figures["rounds"]
    assert one["get"] == figures["get_ratio"]
    assert list(tmp_path.iterdir()) == []
