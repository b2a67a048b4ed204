"""Published tolerances are read, and vectors are compared with published ones."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.reference import (
    Dtype,
    Finding,
    Limit,
    compare,
    cosines,
    label,
    largest_difference,
    limit_of,
    mismatches,
    read_sts,
    read_texts,
    spearman,
)

SOURCE = "owner/project@0123abc:folder/test_file.snap (test, over HTTP)"
BY_COSINE = "TEI compares by cosine"


@pytest.mark.parametrize(
    ("stated", "precision", "float32", "auto"),
    [
        (BY_COSINE, "float32, CPU", Limit("cosine", 0.9999), Limit("cosine", 0.999)),
        (BY_COSINE, "float16, CUDA", Limit("cosine", 0.999), Limit("cosine", 0.999)),
        ("abs 1e-3", "float32", Limit("absolute", 1e-3), Limit("absolute", 4e-3)),
        ("abs 4e-3 (a/file.rs)", "float32", Limit("absolute", 4e-3), Limit("absolute", 4e-3)),
        ("abs 0.01", "float32", Limit("absolute", 0.01), Limit("absolute", 0.01)),
        ("4 decimals", "", Limit("absolute", 6e-5), Limit("absolute", 4e-3)),
        ("", "float16", Limit("absolute", 1e-3), Limit("absolute", 4e-3)),
    ],
)
def test_a_stated_tolerance_is_read(
    stated: str, precision: str, float32: Limit, auto: Limit
) -> None:
    check = {"tolerance": stated, "precision": precision}

    assert limit_of(check, "float32") == float32
    assert limit_of(check, "auto") == auto


def test_no_tolerance_reads_as_none_that_is_stated() -> None:
    assert limit_of({}, "float32") == limit_of({"tolerance": ""}, "float32")


def test_a_tolerance_in_other_words_is_refused() -> None:
    with pytest.raises(ValueError, match="about right"):
        limit_of({"tolerance": "about right"}, "float32")


def _finding(check: dict[str, Any], vectors: list[list[float]], dtype: Dtype) -> Finding:
    return compare({"source": SOURCE} | check, np.asarray(vectors, np.float32), dtype)


def test_vectors_that_compare_by_cosine_may_have_any_length() -> None:
    check = {"vectors": [[3.0, 4.0], [0.0, 2.0]], "tolerance": BY_COSINE}

    finding = _finding(check, [[0.6, 0.8], [0.0, 1.0]], "float32")

    assert finding.ok
    assert finding.least
    assert finding.worst == pytest.approx(1)
    assert finding.what == "project test_file.snap: 2 dimensions, cosine"


def test_the_worst_vector_decides() -> None:
    check = {"vectors": [[3.0, 4.0], [0.0, 2.0]], "tolerance": BY_COSINE}

    finding = _finding(check, [[0.6, 0.8], [1.0, 0.0]], "float32")

    assert not finding.ok
    assert finding.worst == pytest.approx(0)


def test_only_the_published_components_are_compared() -> None:
    check = {"first_components": [[0.5]], "tolerance": "abs 1e-3"}

    finding = _finding(check, [[0.5009, 7.0]], "float32")

    assert finding.ok
    assert finding.worst == pytest.approx(9e-4, rel=1e-3)
    assert finding.what.endswith("first components, absolute")


def test_without_pooling_the_components_are_the_first_tokens() -> None:
    finding = _finding({"first_components": [[0.5]], "pooling": "none"}, [[0.5, 7.0]], "float32")

    assert "first token" in finding.what


def test_a_similarity_matrix_is_that_of_the_vectors() -> None:
    check = {"similarity": [[1.0, 0.6], [0.6, 1.0]], "tolerance": "4 decimals"}

    assert _finding(check, [[1.0, 0.0], [0.6, 0.8]], "float32").ok
    assert not _finding(check, [[1.0, 0.0], [0.8, 0.6]], "float32").ok


@pytest.mark.parametrize(
    ("worst", "limit", "least", "ok"),
    [
        (0.9999, 0.9999, True, True),
        (0.9998, 0.9999, True, False),
        (1e-3, 1e-3, False, True),
        (2e-3, 1e-3, False, False),
        (math.nan, 0.9999, True, False),
        (math.nan, 1e-3, False, False),
        (0.1, None, False, True),
    ],
)
def test_a_limit_holds_on_its_own_side_and_never_for_nan(
    worst: float, limit: float | None, least: bool, ok: bool
) -> None:
    finding = Finding("what", "float32", worst, limit, least)

    assert finding.ok is ok
    assert json.loads(json.dumps(finding.document(), allow_nan=False))["ok"] is ok


@pytest.mark.parametrize("measure", [cosines, largest_difference])
def test_arrays_of_different_shapes_are_not_compared(measure: Any) -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        measure([[1.0, 2.0]], [[1.0]])


def test_the_largest_difference_ignores_its_sign() -> None:
    assert largest_difference([[1.0, 5.0]], [[1.5, 3.0]]) == 2.0


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ([1, 2, 3], [10, 200, 3000], 1.0),
        ([1, 2, 3], [3, 2, 1], -1.0),
        ([1, 2, 2, 3], [1, 2, 3, 4], 0.9486833),
        ([0.1, 0.4, 0.2, 0.3], [2, 1, 4, 3], -0.4),
    ],
)
def test_spearman_correlates_ranks_and_shares_them_among_equals(
    left: list[float], right: list[float], expected: float
) -> None:
    assert spearman(left, right) == pytest.approx(expected)


def test_lists_of_ids_that_differ_are_named_by_their_place() -> None:
    assert mismatches([[1, 2], [3], [4]], [[1, 2], [3, 3], [5]]) == [1, 2]


@pytest.mark.parametrize(
    ("source", "short"),
    [
        (SOURCE, "project test_file.snap"),
        ("a/b@1:README.md, docs/start.rst", "b README.md"),
        ("a/b@1:tests/test_x.py NAME", "b test_x.py"),
    ],
)
def test_a_source_is_shortened_to_project_and_file(source: str, short: str) -> None:
    assert label(source) == short


def test_the_same_seed_draws_the_same_texts(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": f"é{number}"}) + "\n" for number in range(20))

    drawn = read_texts(path, 5, seed=1)

    assert drawn == read_texts(path, 5, seed=1)
    assert len(set(drawn)) == 5
    assert len(read_texts(path, 100, seed=1)) == 20


def test_sentences_keep_their_quotes(tmp_path: Path) -> None:
    path = tmp_path / "sts.csv"
    path.write_text('a\tb\tc\t1\t2.5\t"So" he said.\tHe said "so.\textra\n')

    assert read_sts(path) == ([2.5], ['"So" he said.'], ['He said "so.'])
