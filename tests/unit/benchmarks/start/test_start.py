"""The figures and tables of `benchmarks.start`."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.start.__main__ import Rounds, Start, imports, process_table, table
from benchmarks.start.processes import TICKS_PER_S, started_processes


def write_process(root: Path, number: int, command: str, *, began_s: int, core_s: int) -> None:
    folder = root / str(number)
    folder.mkdir()
    (folder / "cmdline").write_bytes(command.encode())
    fields = ["S", *["0"] * 10, str(core_s * TICKS_PER_S), "0", *["0"] * 6]
    fields.append(str(began_s * TICKS_PER_S))
    (folder / "stat").write_text(f"{number} (a) name) {' '.join(fields)}")


def test_processes_are_in_the_order_of_their_start_and_have_short_names(tmp_path: Path) -> None:
    write_process(tmp_path, 7, "ray::ServeReplica:embedder:Encoder   ", began_s=102, core_s=5)
    write_process(tmp_path, 8, "python\0-m\0ray.serve.scripts\0run", began_s=101, core_s=2)
    write_process(tmp_path, 9, "python\0/ray/monitor.py\0--port=1", began_s=103, core_s=0)
    write_process(tmp_path, 10, "/bin/gcs_server\0--port=1", began_s=104, core_s=1)

    found = started_processes([7, 8, 9, 10, 11], tmp_path)

    assert [(one.command, one.began_s, one.core_s) for one in found] == [
        ("ray.serve.scripts", 0, 2),
        ("ray::ServeReplica:embedder:Encoder", 1, 5),
        ("monitor.py", 2, 0),
        ("gcs_server", 3, 1),
    ]
    assert process_table(found).splitlines()[1].split() == ["0.0", "2.00", "ray.serve.scripts"]


def test_the_ratio_is_that_to_the_bare_start_and_the_imports_of_the_same_round() -> None:
    rounds = Rounds(
        imports=[Start(2, 2), Start(4, 4)],
        bare=[Start(8, 8), Start(6, 9)],
        graph=[Start(9, 9), Start(9, 9)],
        service=[Start(20, 30), Start(15, 32)],
    )

    assert rounds.ratios == [2, 1.5]
    lines = table(rounds, 6).splitlines()
    assert lines[4].split() == ["embedder", "serve", "17.5", "15.0–20.0", "31.0"]
    assert "1.75" in lines[-1]


def test_imports_are_those_of_a_fresh_process() -> None:
    found = imports(["json"])

    assert 0 < found.core_s <= found.seconds + 0.1
    with pytest.raises(Exception, match="non-zero exit status"):
        imports(["no_such_library"])
