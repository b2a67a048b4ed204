"""Conversion of JSON to texts, token ids and vectors, and the places in errors."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.ingress.wire.inputs import to_inputs, to_vector, to_vectors
from embedder.core.errors import InvalidInput, InvalidVector

FLOATS = st.floats(width=32)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("value", "inputs"),
    [
        ("a", ["a"]),
        ("", [""]),
        (["a"], ["a"]),
        (["a", "b", "a"], ["a", "b", "a"]),
        ([1, 2], [[1, 2]]),
        ([0], [[0]]),
        ([[1, 2], [3]], [[1, 2], [3]]),
        (["a", [1, 2]], ["a", [1, 2]]),
        ([[1], "a"], [[1], "a"]),
    ],
)
def test_texts_and_ids_are_read_as_openai_reads_them(value: Any, inputs: list[Any]) -> None:
    assert to_inputs(value) == inputs


@given(st.lists(st.text(max_size=4) | st.lists(st.integers(), min_size=1), min_size=1))
def test_a_list_of_texts_and_id_lists_is_an_input_an_item(value: list[Any]) -> None:
    assert to_inputs(value) == value


@pytest.mark.parametrize(
    ("value", "field", "problem"),
    [
        ([], "input", "empty"),
        (None, "input", "null"),
        (5, "input", "an integer"),
        (1.5, "input", "a number"),
        (True, "input", "a boolean"),
        ({"a": 1}, "input", "an object"),
        ([None], "input[0]", "null"),
        ([True], "input[0]", "a boolean"),
        ([1.0], "input[0]", "a number"),
        ([{}], "input[0]", "an object"),
        ([1, True], "input[1]", "a boolean"),
        ([1, 2.0], "input[1]", "a number"),
        ([1, "a"], "input[1]", "a string"),
        ([1, [2]], "input[1]", "a list"),
        ([1, None], "input[1]", "null"),
        (["a", 1], "input[1]", "an integer"),
        (["a", None], "input[1]", "null"),
        (["a", ["b"]], "input[1][0]", "a string"),
        ([[1], 2], "input[1]", "an integer"),
        ([[1, False]], "input[0][1]", "a boolean"),
        ([[1], [2, 3.5]], "input[1][1]", "a number"),
        ([[[1]]], "input[0][0]", "a list"),
    ],
)
def test_another_value_is_refused_with_its_place(value: Any, field: str, problem: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        to_inputs(value)

    assert caught.value.field == field
    assert problem in caught.value.problem


def test_an_error_names_the_field_of_the_route() -> None:
    for value, field in (([], "inputs"), (["a", 1], "inputs[1]"), ([1, 2.5], "inputs[1]")):
        with pytest.raises(InvalidInput) as caught:
            to_inputs(value, field="inputs")

        assert caught.value.field == field


@given(st.lists(FLOATS, min_size=1, max_size=8))
def test_base64_is_read_to_the_bit(numbers: list[float]) -> None:
    data = np.array(numbers, "<f4").tobytes()
    vector = to_vector(_base64(data), "vector")

    assert vector.dtype == np.float32
    assert vector.tobytes() == data


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1))
def test_numbers_are_read_as_float32(numbers: list[float]) -> None:
    vector = to_vector(numbers, "vector")

    assert vector.dtype == np.float32
    assert vector.tolist() == numbers


def test_a_vector_that_was_read_can_be_written_to() -> None:
    for value in (_base64(np.ones(2, "<f4").tobytes()), [1, 1]):
        vector = to_vector(value, "vector")
        vector[0] = 5

        assert vector.tolist() == [5, 1]


@pytest.mark.parametrize(
    ("value", "components"),
    [
        ([1, 2, 3], [1, 2, 3]),
        ([1, 2.5], [1, 2.5]),
        ([-0.0], [0]),
        ([2**64 - 1], [2**64]),
        ([16_777_217], [16_777_216]),
        ([1e-50], [0]),
        ([1e39], [float("inf")]),
        ([-1e39, 1], [float("-inf"), 1]),
        ("AACAPwAAAMA=", [1, -2]),
    ],
)
def test_numbers_of_any_kind_become_the_nearest_float32(
    value: Any, components: list[float]
) -> None:
    assert to_vector(value, "vector").tolist() == components


@pytest.mark.parametrize(
    ("value", "field", "problem"),
    [
        ([], "q.vector", "empty"),
        ("", "q.vector", "empty"),
        (None, "q.vector", "null"),
        (5, "q.vector", "an integer"),
        (True, "q.vector", "a boolean"),
        ({}, "q.vector", "an object"),
        ([1, True], "q.vector[1]", "a boolean"),
        ([1, None], "q.vector[1]", "null"),
        ([1, "2"], "q.vector[1]", "a string"),
        ([[1, 2]], "q.vector[0]", "a list"),
        ([1, {}], "q.vector[1]", "an object"),
        ("not base64!", "q.vector", "base64"),
        ("AACAPw=", "q.vector", "base64"),
        ("AACAPw==\n", "q.vector", "base64"),
        ("AAC-Pw==", "q.vector", "base64"),
        ("é", "q.vector", "base64"),
        (_base64(b"\0"), "q.vector", "1 bytes"),
        (_base64(b"\0" * 7), "q.vector", "7 bytes"),
    ],
)
def test_an_invalid_vector_is_refused_with_its_place(value: Any, field: str, problem: str) -> None:
    with pytest.raises(InvalidVector) as caught:
        to_vector(value, "q.vector")

    assert caught.value.field == field
    assert problem in caught.value.problem


TABLES = st.integers(1, 5).flatmap(
    lambda width: st.lists(
        st.lists(
            st.floats(allow_nan=False, allow_infinity=False, width=32) | st.integers(-9, 9),
            min_size=width,
            max_size=width,
        ),
        min_size=1,
        max_size=5,
    )
)


@given(TABLES, st.data())
def test_vectors_are_read_together_as_they_are_one_by_one(
    table: list[list[float]], data: st.DataObject
) -> None:
    coded = data.draw(st.lists(st.booleans(), min_size=len(table), max_size=len(table)))
    value = [
        _base64(np.array(row, "<f4").tobytes()) if code else row
        for row, code in zip(table, coded, strict=True)
    ]

    vectors = to_vectors(value, "a")

    assert vectors.dtype == np.float32
    assert vectors.tolist() == [to_vector(item, "a").tolist() for item in value]


@pytest.mark.parametrize(
    ("value", "field", "problem"),
    [
        ([], "a", "empty"),
        (None, "a", "null"),
        ("AACAPw==", "a", "a string"),
        ({"a": [1]}, "a", "an object"),
        ([1, 2], "a[0]", "an integer"),
        ([[1], 2.5], "a[1]", "a number"),
        ([[1], None], "a[1]", "null"),
        ([[1], {"0": 1}], "a[1]", "an object"),
        ([[]], "a[0]", "empty"),
        ([[1], []], "a[1]", "empty"),
        ([[1], ""], "a[1]", "empty"),
        ([[1, 2], [1, 2, 3]], "a[1]", "has 3 components; a[0] has 2"),
        ([[1, 2], "AACAPw=="], "a[1]", "has 1 components; a[0] has 2"),
        ([[1, 2], [1, True]], "a[1][1]", "a boolean"),
        ([[1, 2], [1, "2"]], "a[1][1]", "a string"),
        ([["1"]], "a[0][0]", "a string"),
        ([[1, 2], [None, 2]], "a[1][0]", "null"),
        ([[[1]]], "a[0][0]", "a list"),
        ([[1, 2], [3, 1e39]], "a[1][1]", "finite"),
        ([[1, -1e39], [3, 1]], "a[0][1]", "finite"),
        (["AACAPwAAgH8=", [3, 1]], "a[0][1]", "finite"),
        (["AADAfwAAgD8="], "a[0][0]", "finite"),
        ([[1], "not base64!"], "a[1]", "base64"),
    ],
)
def test_an_invalid_list_of_vectors_is_refused_with_its_place(
    value: Any, field: str, problem: str
) -> None:
    with pytest.raises(InvalidVector) as caught:
        to_vectors(value, "a")

    assert caught.value.field == field
    assert problem in caught.value.problem


def test_vectors_that_were_read_can_be_written_to() -> None:
    for value in ([[1, 1]], [_base64(np.ones(2, "<f4").tobytes())]):
        vectors = to_vectors(value, "a")
        vectors[0, 0] = 5

        assert vectors.tolist() == [[5, 1]]
