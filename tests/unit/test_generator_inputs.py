"""Inputs of all accepted types; an error names the position and type of any other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from embedder import EmbeddingGenerator, EmbedOptions
from embedder.core.errors import InvalidInput
from embedder.core.types import Truncate
from tests.tiny_models import VOCABULARY
from tests.unit.fake_device import Device, ids, vectors_of

ITEM = "an input is a text or a list of token ids"
COLLECTION = "give a text, or a list of texts and token ids"
ALLOWED = f"ids of this model's vocabulary are 0 to {len(VOCABULARY) - 1}"


def _stream(generator: EmbeddingGenerator, inputs: Any) -> None:
    for _ in generator.embed_stream(inputs):
        pass


CALLS: list[Callable[[EmbeddingGenerator, Any], object]] = [
    EmbeddingGenerator.embed,
    EmbeddingGenerator.embed_query,
    EmbeddingGenerator.warm_up,
    _stream,
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        (["a", None], f"'input[1]' is of type NoneType; {ITEM}"),
        (["a", float("nan")], f"'input[1]' is of type float; {ITEM}"),
        ([b"a"], f"'input[0]' is of type bytes; {ITEM}"),
        ([bytearray(b"ab")], f"'input[0]' is of type bytearray; {ITEM}"),
        ([memoryview(b"ab")], f"'input[0]' is of type memoryview; {ITEM}"),
        ([5, 6], f"'input[0]' is of type int; {ITEM}"),
        ([{"text": "a"}], f"'input[0]' is of type dict; {ITEM}"),
        ([np.zeros((2, 2), int)], f"'input[0]' is of type ndarray; {ITEM}"),
        ([["a"]], f"'input[0][0]' is of type str; {ALLOWED}"),
        ([[5, [6]]], f"'input[0][1]' is of type list; {ALLOWED}"),
        ([[5, True]], f"'input[0][1]' is of type bool; {ALLOWED}"),
        ([np.array([True])], f"'input[0][0]' is of type bool; {ALLOWED}"),
        ([[5, 0.5]], f"'input[0][1]' is of type float; {ALLOWED}"),
        ([[5, 10**30]], f"'input[0][1]' is {10**30}; {ALLOWED}"),
        (None, f"'input' is of type NoneType; {COLLECTION}"),
        (5, f"'input' is of type int; {COLLECTION}"),
        (b"abc", f"'input' is of type bytes; {COLLECTION}"),
        (bytearray(b"abc"), f"'input' is of type bytearray; {COLLECTION}"),
        ({"a": "b"}, f"'input' is of type dict; {COLLECTION}"),
        ({"a", "b"}, f"'input' is of type set; {COLLECTION}"),
        (np.array("a"), f"'input' is of type ndarray; {COLLECTION}"),
    ],
)
def test_an_invalid_input_is_refused_by_its_position_and_type(
    generator: EmbeddingGenerator,
    call: Callable[[EmbeddingGenerator, Any], object],
    inputs: Any,
    sentence: str,
) -> None:
    with pytest.raises(InvalidInput) as caught:
        call(generator, inputs)

    assert str(caught.value).replace("bool_", "bool").replace("np.bool", "bool") == sentence


def test_an_iterator_is_refused_by_embed_and_accepted_by_embed_stream(
    generator: EmbeddingGenerator,
) -> None:
    with pytest.raises(InvalidInput, match="generator, which has no length; give a list, or strea"):
        generator.embed(text for text in ("a", "b"))  # type: ignore[arg-type]

    streamed = list(generator.embed_stream(text for text in ("a", "b")))
    assert np.array_equal(streamed, vectors_of(["a", "b"]))


@pytest.mark.parametrize("bad", [None, float("nan"), b"a"])
def test_tokenize_refuses_invalid_inputs_too(generator: EmbeddingGenerator, bad: Any) -> None:
    with pytest.raises(InvalidInput, match=r"'input\[1\]' is of type"):
        generator.tokenize(["a", bad])


@pytest.mark.parametrize(
    "inputs",
    [
        ("a", "bc"),
        np.array(["a", "bc"]),
        np.array(["a", "bc"], dtype=object),
        [np.str_("a"), np.str_("bc")],
        [ids("a"), tuple(ids("bc"))],
        [np.array(ids("a")), np.array(ids("bc"), np.uint8)],
        ["a", ids("bc")],
    ],
)
def test_texts_and_ids_may_be_in_any_ordered_collection(
    generator: EmbeddingGenerator, inputs: Any
) -> None:
    assert np.array_equal(generator.embed(inputs), vectors_of(["a", "bc"]))


def test_an_array_of_texts_is_compared_as_texts(generator: EmbeddingGenerator) -> None:
    texts = ["a", "bc"]

    found = generator.similarity(np.array(texts), texts)

    assert np.array_equal(found, generator.similarity(texts, texts))


def test_truncating_the_start_keeps_the_prompt(
    generator: EmbeddingGenerator, device: Device
) -> None:
    options = EmbedOptions(prompt="xyz ", truncate=Truncate.START)
    limit = generator.model.max_tokens

    generator.embed(["abc " * limit], options)

    (row,) = device.rows
    assert len(row) == limit
    assert row[:4] == ids("xyz")[:4]
    assert row[-4:] == ids("abc")[1:]
