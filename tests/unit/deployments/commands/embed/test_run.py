"""An interrupted run continues, and gives the output of an uninterrupted one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from deployments.commands.embed.embedding import RefusedText
from deployments.commands.embed.input_rows import InputFile
from deployments.commands.embed.parts import Parts
from deployments.commands.embed.run import RunOptions, RunResult, check_run, run
from embedder.core.errors import ConfigurationError, InvalidInput, Unavailable
from embedder.core.types import Vectors
from tests.unit.examples import TIMES

OUTPUTS = ["out.jsonl", "out.npy", "out.npz", "out.parquet"]


@dataclass
class Model:
    """Embeds a text as (its length, 1); refuses texts with "bad", and fails after some calls."""

    calls: int = 10**9
    names_position: bool = True
    embedded: list[str] = field(default_factory=list)

    def __call__(self, texts: list[str]) -> Vectors:
        if self.calls == 0:
            raise Unavailable("the service is away")
        self.calls -= 1
        for row, text in enumerate(texts):
            if "bad" in text:
                raise RefusedText("is bad", row if self.names_position else None)
        self.embedded += texts
        return np.array([[len(text), 1] for text in texts], np.float32).reshape(-1, 2)


def _rows(count: int) -> list[dict[str, Any]]:
    return [{"id": f"r{row}", "text": "x" * (row % 7 + 1)} for row in range(count)]


def _source(folder: Path, rows: Sequence[Mapping[str, Any]]) -> InputFile:
    path = folder / "in.jsonl"
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return InputFile(path)


def _options(folder: Path, name: str = "out.jsonl", **given: Any) -> RunOptions:
    values: dict[str, Any] = {"description": {"model": "m"}, "part_rows": 4, **given}
    return RunOptions(folder / name, **values)


def _run(source: InputFile, model: Model, options: RunOptions) -> RunResult:
    return run(source, model, options, lambda rows, fraction, resumed: None)


def _read(path: Path) -> tuple[list[list[float]], list[dict[str, Any]] | None]:
    """Return the vectors of an output, and its other fields if it has any."""
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False).tolist(), None
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as stored:
            return stored["embeddings"].tolist(), None
    if path.suffix == ".parquet":
        rows = parquet.read_table(path).to_pylist()
    else:
        rows = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    return [row.pop("embedding") for row in rows], rows


@pytest.mark.parametrize("name", OUTPUTS)
def test_every_format_has_all_rows_in_order(tmp_path: Path, name: str) -> None:
    rows = _rows(11)
    result = _run(_source(tmp_path, rows), Model(), _options(tmp_path, name))

    vectors, fields = _read(tmp_path / name)
    assert result == RunResult(11, 0, 0)
    assert vectors == [[len(row["text"]), 1] for row in rows]
    assert fields in (None, rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", name]


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_interrupted_run_repeats_no_finished_part(tmp_path: Path, name: str) -> None:
    source, whole = _source(tmp_path, _rows(40)), tmp_path / f"whole{Path(name).suffix}"
    _run(source, Model(), _options(tmp_path, whole.name))
    embedded = []
    for calls in (3, 4, 10**9):
        model = Model(calls)
        try:
            result = _run(source, model, _options(tmp_path, name))
        except Unavailable:
            assert not (tmp_path / name).exists()
        embedded.append(len(model.embedded))

    assert (tmp_path / name).read_bytes() == whole.read_bytes() or name.endswith(".npz")
    assert _read(tmp_path / name) == _read(whole)
    assert result.resumed >= 20
    assert sum(embedded) <= 40 + 2 * 4 * 2  # the parts in work when it was interrupted, twice


@pytest.mark.parametrize("names_position", [True, False])
def test_rows_that_fail_are_in_a_file_of_their_own(tmp_path: Path, names_position: bool) -> None:
    rows = [*_rows(6), {"id": "b", "text": "bad one"}, {"id": "n"}, *_rows(3), {"text": "bad"}]
    options = _options(tmp_path, kept=["id"])
    result = _run(_source(tmp_path, rows), Model(names_position=names_position), options)

    _, fields = _read(options.output)
    failures = [orjson.loads(line) for line in options.failures.read_bytes().splitlines()]
    assert (result.rows, result.failed) == (9, 3)
    assert fields == [{"id": row["id"]} for row in [*_rows(6), *_rows(3)]]
    assert [(one["row"], one["fields"]) for one in failures] == [
        (row, rows[row]) for row in (6, 7, 11)
    ]
    assert failures[0]["error"] == "is bad"
    assert "no field 'text'" in failures[1]["error"]


def test_numbers_of_rows_tell_which_vectors_are_missing(tmp_path: Path) -> None:
    rows = [{"text": "bad"}, {"text": "a"}, {"text": "bad"}, {"text": "b"}, *_rows(4)]
    _run(_source(tmp_path, rows), Model(), _options(tmp_path, "out.npz"))

    with np.load(tmp_path / "out.npz", allow_pickle=False) as stored:
        assert stored["rows"].tolist() == [1, 3, 4, 5, 6, 7]
        assert len(stored["embeddings"]) == 6


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_input_without_vectors_has_an_empty_output(tmp_path: Path, name: str) -> None:
    for rows in ([], [{"text": "bad"}]):
        options = _options(tmp_path, name, overwrite=True)
        result = _run(_source(tmp_path, rows), Model(), options)
        assert result.failed == len(rows)
        assert _read(options.output)[0] == []


def test_a_run_over_another_input_or_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        _run(_source(tmp_path, _rows(20)), Model(3), _options(tmp_path))
    other = _source(tmp_path, [{"text": "new"}, *_rows(20)])
    with pytest.raises(ConfigurationError, match="the input differs"):
        _run(other, Model(), _options(tmp_path))
    with pytest.raises(ConfigurationError, match="model: 'm', now 'n'"):
        _run(other, Model(), _options(tmp_path, description={"model": "n"}))

    _run(other, Model(), _options(tmp_path, description={"model": "n"}, restart=True))
    assert len(_read(tmp_path / "out.jsonl")[0]) == 21


def test_an_output_that_exists_is_replaced_only_on_request(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("mine")
    with pytest.raises(InvalidInput, match=r"out.jsonl exists; --overwrite replaces it"):
        check_run(_options(tmp_path))
    with pytest.raises(InvalidInput, match=r"has none of the suffixes .jsonl, .npy"):
        check_run(_options(tmp_path, "out.json"))

    _run(_source(tmp_path, _rows(2)), Model(), _options(tmp_path, overwrite=True))
    assert len(_read(tmp_path / "out.jsonl")[0]) == 2


def test_two_runs_do_not_write_to_the_same_output(tmp_path: Path) -> None:
    options = _options(tmp_path)
    described = {"model": "m", "kept fields": None, "rows of a part": 4}
    parts = Parts(options.parts, described)
    with pytest.raises(ConfigurationError, match="another process writes"):
        _run(_source(tmp_path, _rows(2)), Model(), options)
    parts.close()
    _run(_source(tmp_path, _rows(2)), Model(), options)


@settings(max_examples=TIMES * 8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.booleans(), max_size=14), st.lists(st.integers(1, 4), max_size=4))
def test_any_interruptions_give_the_rows_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, good: list[bool], interruptions: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("run")
    rows = [{"n": row, "text": "a" if one else "bad"} for row, one in enumerate(good)]
    source, options = _source(folder, rows), _options(folder, part_rows=3)
    for calls in [*interruptions, 10**9]:
        if not options.output.exists():
            try:
                _run(source, Model(calls), options)
            except Unavailable:
                continue

    _, fields = _read(options.output)
    assert fields == [row for row, one in zip(rows, good, strict=True) if one]
