"""``embedder index`` on the command line, over a service in this process."""

from __future__ import annotations

import base64
import gzip
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployments.cli import main
from deployments.operations.point_lines import read_points
from embedder.core.errors import LimitExceeded
from tests.unit.deployments.index_service import IndexService, vectors_of

POINTS: list[dict[str, Any]] = [
    {"id": "one", "text": "aaa", "metadata": {"year": 1999}},
    {"id": "two", "text": "b" * 90 + "\n", "metadata": {"year": 2001}},
    {"id": "three", "vector": [1, 1, 1, 5]},
    {"id": "four", "vector": base64.b64encode(vectors_of(["cc"]).astype("<f4").tobytes()).decode()},
]


@pytest.fixture
def points(tmp_path: Path) -> str:
    """Return the path of a file of points."""
    path = tmp_path / "points.jsonl"
    path.write_text("\n\n".join(map(json.dumps, POINTS)))
    return str(path)


def test_a_collection_is_created_filled_listed_and_deleted(
    points: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", "create", "things", "--metric", "l2", "--kind", "flat"]) == 0
    assert main(["index", "add", "things", points]) == 0
    assert main(["index", "list"]) == 0
    assert main(["index", "delete", "things", "--yes"]) == 0
    said = capsys.readouterr().out.splitlines()

    assert said[:2] == ["things exists, with 0 points", "4 points are in things"]
    assert said[3].split() == ["things", "4", "4", "l2", "flat", "flat", "letters"]
    assert said[4:] == ["things is deleted"]
    assert main(["index", "describe", "things"]) == 1
    assert "things" in capsys.readouterr().err


def test_describe_prints_all_fields(points: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["index", "add", "things", points])
    capsys.readouterr()
    assert main(["index", "describe", "things"]) == 0
    lines = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert main(["index", "list", "--json"]) == 0
    (printed,) = json.loads(capsys.readouterr().out)

    assert (lines["count"], lines["metric"], lines["model"]) == ("4", "cosine", "letters")
    assert (printed["count"], printed["metric"], printed["model"]) == (4, "cosine", "letters")
    assert printed.keys() == lines.keys()


def test_a_search_prints_a_point_a_line(points: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["index", "add", "things", points])
    search = ["index", "search", "things", "b" * 90, "--top-k", "2"]
    capsys.readouterr()
    assert main(search) == 0
    table = capsys.readouterr().out.splitlines()
    assert main([*search, "--json", "--filter", '{"year": {"$lt": 2000}}']) == 0
    (hit,) = map(json.loads, capsys.readouterr().out.splitlines())

    assert len(table) == 2
    assert table[0].split() == ["1.0000", "two", "b" * 80 + "…"]
    assert (hit["id"], hit["text"], hit["metadata"]) == ("one", "aaa", {"year": 1999})


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ([], {}),
        (["--hybrid"], {"hybrid": {}}),
        (["--rerank"], {"rerank": {}}),
        (["--rerank-model", "reader"], {"rerank": {"model": "reader"}}),
        (
            ["--hybrid", "--rerank", "--candidates", "20"],
            {"hybrid": {}, "rerank": {"candidates": 20}},
        ),
    ],
)
def test_a_search_asks_for_what_its_options_say(
    service: IndexService, points: str, options: list[str], fields: dict[str, Any]
) -> None:
    main(["index", "add", "things", points])
    assert main(["index", "search", "things", "a", *options]) == 0
    (body,) = service.fake_ingress.searches

    assert body == {
        "text": "a",
        "top_k": 10,
        "include": ["text", "metadata"],
        "complete": True,
        **fields,
    }


@pytest.mark.parametrize(("answer", "remains"), [("y\n", 0), ("n\n", 1), ("", 1)])
def test_a_deletion_asks_for_confirmation(
    answer: str,
    remains: int,
    points: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["index", "add", "things", points])
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))

    assert main(["index", "delete", "things"]) == remains
    assert "things with its 4 points" in capsys.readouterr().out
    main(["index", "list", "--json"])
    assert len(json.loads(capsys.readouterr().out)) == remains


def test_a_collection_is_backed_up_and_restored(
    points: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["index", "add", "things", points])
    assert main(["index", "backup", "things", "backup"]) == 0
    assert main(["index", "restore", "backup", "again"]) == 0
    assert main(["index", "export", "again", "again.parquet"]) == 0

    assert capsys.readouterr().out.splitlines()[1:] == [
        f"4 points are in {tmp_path / 'backup'}",
        "again exists, with 4 points",
        f"4 points are in {tmp_path / 'again.parquet'}",
    ]


def test_points_are_read_from_compressed_files_and_stdin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "\n".join(map(json.dumps, POINTS))
    (tmp_path / "points.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))

    assert main(["index", "add", "things", str(tmp_path / "points.jsonl.gz")]) == 0
    assert main(["index", "add", "others", "-"]) == 0
    assert capsys.readouterr().out == "4 points are in things\n4 points are in others\n"


WRONG = {
    "no JSON": ("{", "'line 2' is not JSON"),
    "no object": ("[]", "'line 2' is invalid"),
    "no id": ('{"text": "a"}', r"'line 2.id' is invalid: Field required"),
    "an unknown field": ('{"id": "x", "txt": "a"}', "'line 2.txt'"),
    "nothing to search by": ('{"id": "x"}', "'line 2' must have a text or a vector"),
    "no vector": ('{"id": "x", "vector": ["a"]}', "'line 2.vector"),
    "no metadata": ('{"id": "x", "text": "a", "metadata": 3}', "'line 2.metadata'"),
    "too deep": ("[" * 100_000, "'line 2' is not JSON"),
}


@pytest.mark.parametrize(("line", "says"), WRONG.values(), ids=WRONG)
def test_the_error_of_an_invalid_line_names_it(
    line: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "points.jsonl"
    path.write_text(f'{{"id": "first", "text": "a"}}\n{line}\n')

    assert main(["index", "add", "things", str(path)]) == 1
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("name", ["cut.jsonl.gz", "bytes.jsonl", "missing.jsonl"])
def test_a_file_that_cannot_be_read_is_named(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).bytes(1000)
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(noise)[:500])
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe")

    assert main(["index", "add", "things", str(tmp_path / name)]) == 1
    assert f"{name} cannot be read" in capsys.readouterr().err


def test_a_filter_that_is_not_json_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", "search", "things", "a", "--filter", "{year: 1}"]) == 1
    assert "'filter' is not JSON" in capsys.readouterr().err


def test_terminal_control_characters_are_printed_as_escapes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "points.jsonl"
    path.write_text(json.dumps({"id": "a\n\x1b[2J é", "text": "aaa\0\x9b2J"}))
    main(["index", "add", "things", str(path)])
    capsys.readouterr()
    assert main(["index", "search", "things", "aaa"]) == 0

    assert capsys.readouterr().out.splitlines() == [r"1.0000  a\n\x1b[2J é  aaa\x00\x9b2J"]


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_a_line_has_the_same_json_as_a_request_body(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], number: str
) -> None:
    path = tmp_path / "points.jsonl"
    line = '\ufeff{"id": "a", "text": "a", "metadata": {"n": 1}}\n'
    path.write_text(line + f'{{"id": "b", "text": "a", "metadata": {{"n": {number}}}}}')
    assert main(["index", "add", "things", str(path)]) == 1

    assert "'line 2' is not JSON" in capsys.readouterr().err


def test_a_collection_gets_the_vectors_of_another_model(
    service: IndexService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [{"id": "one", "text": "aaa"}, {"id": "two", "vector": [1, 1, 1, 5]}]
    (tmp_path / "some.jsonl").write_text("\n".join(map(json.dumps, lines)))
    main(["index", "add", "things", str(tmp_path / "some.jsonl")])
    service.fake_ingress.model = replace(service.fake_ingress.model, revision="2")
    capsys.readouterr()
    assert main(["index", "reembed", "things"]) == 1
    assert "1 points with a vector and no text" in capsys.readouterr().err
    assert main(["index", "reembed", "things", "--abandon"]) == 1
    assert "is not being embedded again" in capsys.readouterr().err
    assert main(["index", "reembed", "things", "--drop-without-text", "--model", "letters"]) == 0

    said = "things has 1 points, of model 'letters' (revision 2, weights 000000000000"
    assert capsys.readouterr().out.startswith(said)


def test_metadata_nested_too_deeply_is_refused_before_it_is_sent() -> None:
    metadata = '{"a":' * 900 + "1" + "}" * 900
    line = f'{{"id": "x", "text": "a", "metadata": {metadata}}}'

    with pytest.raises(LimitExceeded, match=r"'line 2\.metadata' has 17 or more levels"):
        list(read_points([(2, line)]))
