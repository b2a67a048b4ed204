"""Every format gives the same rows, and a row without a text says why."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import orjson
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from deployments.commands.embed.input_rows import InputFile
from embedder.core.errors import InvalidInput
from tests.unit.examples import TIMES

TEXTS = ["plain", 'with "quotes", commas', "two\nlines", "漢字 🙂", "\ufeffinside", "x" * 200_000]


def _texts(path: Path, **options: str) -> list[str]:
    return [row.text for row in InputFile(path, **options).rows()]  # type: ignore[arg-type]


def test_formats_give_the_same_texts(tmp_path: Path) -> None:
    jsonl, table, compressed = (tmp_path / name for name in ("a.jsonl", "a.csv", "a.jsonl.gz"))
    lines = b"".join(orjson.dumps({"text": text, "id": 1}) + b"\n" for text in TEXTS)
    jsonl.write_bytes(lines)
    compressed.write_bytes(gzip.compress(lines))
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["text", "id"], *([text, 1] for text in TEXTS)])
    parquet.write_table(pa.table({"text": TEXTS, "id": [1] * 6}), tmp_path / "a.parquet")

    assert _texts(jsonl) == _texts(table) == _texts(compressed) == TEXTS
    assert _texts(tmp_path / "a.parquet") == TEXTS


def test_a_line_of_text_is_a_row_and_a_byte_order_mark_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\r\ntwo\u2028too\n\nlast".encode())

    rows = list(InputFile(path).rows())
    assert [row.text for row in rows] == ["one", "two\u2028too", "", "last"]
    assert rows[2].problem == "has a field 'text' that is empty"


def test_rows_without_a_text_have_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n{"body": "b"}\n{"text": 3}\n{"text": null}\n[1]\n{"text": \n\n')

    problems = [row.problem for row in InputFile(path).rows()]
    assert problems[:5] == [
        "",
        "has no field 'text'; its fields: 'body'",
        "has a field 'text' that is of type int",
        "has a field 'text' that is of type NoneType",
        "is list; a row must be an object",
    ]
    assert problems[5].startswith("is not JSON: ")
    assert len(problems) == 6


def test_another_column_and_format_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text('{"body": "b"}\n')

    assert [row.text for row in InputFile(path, "jsonl", "body").rows()] == ["b"]
    with pytest.raises(InvalidInput, match="no suffix of a known format; name one: text, jsonl"):
        InputFile(path)


@pytest.mark.parametrize("name", ["missing.jsonl", "broken.txt", "broken.jsonl.gz"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "broken.txt").write_bytes(b"a\n\xff\xfe\n")
    (tmp_path / "broken.jsonl.gz").write_bytes(gzip.compress(b'{"text": "a"}\n' * 999)[:-9])

    with pytest.raises(InvalidInput, match=rf"{name} cannot be read: "):
        list(InputFile(tmp_path / name).rows())


def test_the_fraction_of_a_file_grows_to_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("line\n" * 100_000)
    source = InputFile(path)
    rows = source.rows()
    found = []
    for _ in range(4):
        for _ in range(20_000):
            next(rows)
        found.append(source.fraction)

    assert found == sorted(found, key=lambda value: value or 0)
    assert found[0] is not None
    assert 0 < found[0] < 0.5


@settings(max_examples=TIMES * 20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(min_size=1).filter(lambda text: "\x00" not in text), max_size=8))
def test_any_text_survives_jsonl_and_csv(tmp_path: Path, texts: list[str]) -> None:
    jsonl, table = tmp_path / "a.jsonl", tmp_path / "a.csv"
    jsonl.write_bytes(b"".join(orjson.dumps({"text": text}) + b"\n" for text in texts))
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["text"], *([text] for text in texts)])

    assert _texts(jsonl) == texts
    assert _texts(table) == texts
