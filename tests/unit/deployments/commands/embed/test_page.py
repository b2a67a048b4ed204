"""The commands of docs/bulk.md write what the page says."""

from __future__ import annotations

import gzip
import shlex
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from deployments.cli import main
from tests.readme import README, runnable

COMMANDS = [one.line for one in runnable((README.parent / "docs" / "bulk.md").read_text())]


def test_the_page_has_its_commands() -> None:
    assert sum("--url" not in command for command in COMMANDS) == 3


def test_the_commands_of_the_page_write_their_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMBEDDER_BATCHING__AUTOTUNE_S", "0")
    Path("articles.csv").write_text('id,body\n1,"one, two"\n2,three\n')
    Path("articles.jsonl.gz").write_bytes(gzip.compress(b'{"id": 7, "text": "one"}\n'))
    Path("articles.txt").write_text("one\ntwo\n")

    for command in COMMANDS:
        if "--url" not in command:
            assert main(shlex.split(command)[1:]) == 0

    table = parquet.read_table("articles.parquet")
    assert table.column_names == ["id", "body", "embedding"]
    assert Path("articles.jsonl").read_text().startswith('{"id":7,"embedding":[')
    assert np.load("articles.npy").shape == (2, 384)
