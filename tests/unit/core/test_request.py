"""Distinct inputs keep the first row of duplicates, and expand to all rows again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from embedder.core.request import DistinctInputs, EmbedOptions
from embedder.core.types import Input, Priority, Truncate

KEYS = st.lists(st.sampled_from([b"a", b"b", b"c", b"d", b"e"]), max_size=20)


def named(keys: list[bytes], prompt: str = "") -> DistinctInputs:
    """Return distinct inputs whose texts are their keys."""
    inputs = [key.decode() for key in keys]
    return DistinctInputs.of(keys, inputs, prompt, Truncate.END, EmbedOptions())


def test_default_options_are_interactive_and_normalized() -> None:
    options = EmbedOptions()

    assert options.prompt is options.prompt_name is options.input_type is None
    assert options.truncate is None
    assert options.dimensions is None
    assert options.normalize
    assert options.priority is Priority.INTERACTIVE
    assert options.timeout_s is None


def test_the_first_row_of_every_key_is_kept() -> None:
    distinct = named([b"x", b"y", b"x", b"z", b"y"])

    assert distinct.keys == [b"x", b"y", b"z"]
    assert distinct.rows == [0, 1, 3]


@given(KEYS)
def test_every_key_is_kept_once(keys: list[bytes]) -> None:
    distinct = named(keys)

    assert sorted(distinct.keys) == sorted(set(keys))
    assert [keys[row] for row in distinct.rows] == distinct.keys
    assert all(
        keys.index(key) == row for key, row in zip(distinct.keys, distinct.rows, strict=True)
    )


@given(KEYS)
def test_expand_returns_the_number_of_each_key(keys: list[bytes]) -> None:
    distinct = named(keys)
    back = distinct.expand(keys)

    assert [distinct.keys[number] for number in back] == keys


@given(KEYS, st.data())
def test_a_subset_keeps_the_rows_of_the_request(keys: list[bytes], data: st.DataObject) -> None:
    distinct = named(keys)
    numbers = (
        data.draw(st.lists(st.sampled_from(range(len(distinct.keys))), unique=True))
        if (keys)
        else []
    )
    part = distinct.subset(numbers)

    assert part.keys == [distinct.keys[number] for number in numbers]
    assert part.rows == [keys.index(key) for key in part.keys]
    assert part.to_tokenize() == [key.decode() for key in part.keys]
    assert part.options is distinct.options


def test_a_subset_of_a_subset_keeps_the_rows_of_the_request() -> None:
    part = named([b"a", b"b", b"c", b"d"]).subset([1, 2, 3]).subset([2, 0])

    assert part.rows == [3, 1]
    assert part.to_tokenize() == ["d", "b"]


def test_a_prompt_is_added_to_texts_and_not_to_ids() -> None:
    inputs: list[Input] = ["text", [5, 6], (7,)]
    keys = [b"1", b"2", b"3"]
    distinct = DistinctInputs.of(keys, inputs, "query: ", Truncate.END, EmbedOptions())

    assert distinct.to_tokenize() == ["query: text", [5, 6], (7,)]


def test_a_subset_keeps_the_prompt() -> None:
    part = named([b"a", b"b", b"c"], "x ").subset([2])

    assert part.to_tokenize() == ["x c"]


def test_the_resolved_prompt_is_used_and_not_that_of_the_options() -> None:
    """The options may hold a name that the model's table resolves to a text."""
    options = EmbedOptions(prompt_name="query")

    distinct = DistinctInputs.of([b"1"], ["text"], "find ", Truncate.END, options)

    assert distinct.to_tokenize() == ["find text"]
