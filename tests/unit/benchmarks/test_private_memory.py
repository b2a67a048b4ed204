"""The private memory of a process, and the table of `benchmarks.private_memory`."""

from __future__ import annotations

from pathlib import Path

from benchmarks.private_memory import private_mb, table

ROLLUP = "55-7f ---p 00000000 00:00 0  [rollup]\nRss:  4000 kB\nPrivate_Dirty:  1000 kB\n"


def test_private_memory_is_what_one_process_has_written(tmp_path: Path) -> None:
    (tmp_path / "smaps_rollup").write_text(ROLLUP)

    assert private_mb(tmp_path) == 1.024


def test_each_step_is_shown_beside_the_floor() -> None:
    lines = table(200.0, [("load", 250.0), ("batches", 420.4)]).splitlines()

    assert [line.split()[-2:] for line in lines[2:]] == [["250", "50"], ["420", "220"]]
    assert lines[1].split()[-1] == "200"
