"""Points and names that cannot be stored are refused with their field; all others pass."""

from __future__ import annotations

import string
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.core.errors import InvalidInput, InvalidVector, LimitExceeded
from embedder.core.types import Vectors
from embedder.index.contract.checks import check_ids, check_metadata, check_name, check_vectors
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.limits import MAX_METADATA_BYTES, MAX_METADATA_DEPTH
from embedder.index.contract.points import Metric
from tests.unit.index.brute_force import vectors

PLAIN = set(string.ascii_letters + string.digits + "_.-")
EVERY_METRIC = pytest.mark.parametrize("metric", Metric, ids=lambda metric: metric.value)


def _is_plain(name: str) -> bool:
    """Return whether a name follows the rule, without a regular expression."""
    return set(name) <= PLAIN and name[:1] not in ("", "_", ".", "-") and ".." not in name


@given(st.text("aZ0_.-/\n\0 é²", max_size=8))
def test_exactly_the_names_that_follow_the_rule_pass(name: str) -> None:
    if _is_plain(name):
        check_name(name)
        return

    with pytest.raises(InvalidInput) as caught:
        check_name(name)

    assert caught.value.field == "collection"


@pytest.mark.parametrize("name", ["a", "0", "a.b-c_d", "A" * 63, "v1.2", "a."])
def test_a_valid_name_passes(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../a", "a/../b", "a/b", "a\\b", ".a", "-a", "a..b"),
        *("a\0", "a\n", "\na", "a b", "é", "a%2F", "\ud800", "\u0661"),
    ],
)
def test_an_empty_name_or_one_that_could_be_a_path_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_name(name)

    assert caught.value.field == "collection"
    assert not isinstance(caught.value, LimitExceeded)


def test_the_error_for_a_long_name_states_its_length() -> None:
    with pytest.raises(LimitExceeded) as caught:
        check_name("a" * 64)

    assert caught.value.args == ("collection", "characters", 64, 63)


@given(st.text(min_size=1, max_size=63))
def test_any_text_is_a_valid_id(name: str) -> None:
    check_ids([name])


@pytest.mark.parametrize("name", ["🙂", "👩‍👩‍👧", "../a", "a\n", "\0", " ", "a" * 255, "é" * 127])
def test_an_id_need_not_follow_the_rule_for_names(name: str) -> None:
    check_ids(["first", name])


@pytest.mark.parametrize("name", ["a" * 256, "é" * 128, "🙂" * 64])
def test_the_error_for_a_long_id_states_its_bytes(name: str) -> None:
    with pytest.raises(LimitExceeded) as caught:
        check_ids(["first", name])

    assert caught.value.args == ("points[1].id", "bytes", 256, 255)


@pytest.mark.parametrize("name", ["", "\ud800", "a\udfff"])
def test_the_error_for_an_invalid_id_names_the_point(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_ids(["first", "second", name])

    assert caught.value.field == "points[2].id"


def _check(rows: Vectors, metric: Metric, width: int | None = None) -> None:
    names = [f"points[{row}].vector" for row in range(len(rows))]
    check_vectors(rows, width=width, metric=metric, names=names)


@EVERY_METRIC
@given(rows=st.integers(1, 5).flatmap(lambda width: vectors(3, width)))
def test_finite_vectors_of_the_right_width_pass(rows: Vectors, metric: Metric) -> None:
    _check(rows, metric)
    _check(rows, metric, width=rows.shape[1])


@EVERY_METRIC
@given(
    rows=vectors(4, 3),
    cell=st.tuples(st.integers(0, 3), st.integers(0, 2)),
    value=st.sampled_from([float("nan"), float("inf"), float("-inf"), 1e38, -1e38]),
)
def test_the_error_for_a_vector_without_a_finite_length_names_the_point(
    rows: Vectors, metric: Metric, cell: tuple[int, int], value: float
) -> None:
    rows[cell] = value

    with pytest.raises(InvalidVector) as caught:
        _check(rows, metric)

    assert caught.value.field == f"points[{cell[0]}].vector"


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_a_zero_vector_is_refused_for_the_cosine_only(zero: float) -> None:
    rows = np.array([[1, 2], [zero, zero]], np.float32)
    for metric in set(Metric) - {Metric.COSINE}:
        _check(rows, metric)

    with pytest.raises(InvalidVector) as caught:
        _check(rows, Metric.COSINE)

    assert caught.value.field == "points[1].vector"


@EVERY_METRIC
@pytest.mark.parametrize("width", [1, 2, 4, 384])
def test_the_error_for_a_wrong_width_states_both_widths(metric: Metric, width: int) -> None:
    with pytest.raises(InvalidVector) as caught:
        _check(np.ones((2, 3), np.float32), metric, width=width)

    assert caught.value.field == "points[0].vector"
    assert "3 components" in caught.value.problem
    assert str(width) in caught.value.problem


def nested(depth: int) -> dict[str, Any]:
    """Return metadata of the given depth, dicts and lists in turn."""
    value: Any = 1
    for level in range(depth - 1):
        value = [value] if level % 2 else {"in": value}
    return {"top": value}


@given(depth=st.integers(1, 30))
def test_metadata_is_refused_only_beyond_the_depth_limit(depth: int) -> None:
    if depth <= MAX_METADATA_DEPTH:
        check_metadata([{}, nested(depth)])
    else:
        with pytest.raises(
            LimitExceeded, match=r"metadata' has 17 or more levels; the limit is 16"
        ):
            check_metadata([{}, nested(depth)])


def test_very_deep_metadata_is_refused_without_recursion() -> None:
    with pytest.raises(LimitExceeded):
        check_metadata([nested(100_000)])


@pytest.mark.parametrize(("characters", "fits"), [(MAX_METADATA_BYTES - 8, True), (70_000, False)])
def test_metadata_beyond_the_limit_in_bytes_is_refused(characters: int, fits: bool) -> None:
    metadata = [{"k": "x" * characters}]
    if fits:
        check_metadata(metadata)
    else:
        with pytest.raises(LimitExceeded, match=r"points\[0\]\.metadata' has 70008 bytes"):
            check_metadata(metadata)


def test_metadata_that_is_not_json_is_refused() -> None:
    """Only Python callers can send such metadata: HTTP bodies are JSON."""
    with pytest.raises(InvalidInput, match="is not JSON"):
        check_metadata([{"k": object()}])


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ({"": 1}, "an empty key"),
        ({"a": [{"b": {"": None}}]}, "an empty key"),
        ({"k" * 257: 1}, "has 257 characters in a key; the limit is 256"),
        ({"a": {"é" * 300: 1}}, "has 300 characters in a key; the limit is 256"),
        ({"a": float("nan")}, "not finite"),
        ({"a": [1, {"b": float("-inf")}]}, "not finite"),
        ({"a": 2**64}, "is not JSON"),
        ({1: 2}, "is not JSON"),
    ],
)
def test_metadata_that_no_filter_can_name_or_json_cannot_hold_is_refused(
    metadata: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InvalidInput, match=problem) as caught:
        check_metadata([{}, metadata])

    assert caught.value.field == "points[1].metadata"


@given(st.lists(st.text(min_size=1, max_size=256), min_size=1, max_size=16))
def test_a_filter_can_name_every_key_that_can_be_stored(keys: list[str]) -> None:
    metadata: Any = 1
    for key in reversed(keys):
        metadata = {key: metadata}
    try:
        check_metadata([metadata])
    except InvalidInput:
        return
    field = ".".join(key.replace("\\", "\\\\").replace(".", "\\.") for key in keys)
    parse({f"\\{field}" if field.startswith("$") else field: 1})
