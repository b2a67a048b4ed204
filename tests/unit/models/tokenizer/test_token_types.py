"""Token types of texts, and of ids without special tokens."""

from __future__ import annotations

import json

import numpy as np
import pytest

from embedder.core.pairs import PairRow
from embedder.core.types import TokenBatch
from embedder.models.tokenizer.token_types import TokenTypes


def _state(template: list[tuple[str, int]]) -> str:
    pieces = [
        {"Sequence": {"id": "A", "type_id": kind}}
        if name == "$"
        else {"SpecialToken": {"id": name, "type_id": kind}}
        for name, kind in template
    ]
    special = {"s": {"ids": [1]}, "c": {"ids": [2]}, "two": {"ids": [3, 4]}}
    processor = {"type": "TemplateProcessing", "single": pieces, "special_tokens": special}
    return json.dumps({"post_processor": processor})


@pytest.mark.parametrize(
    ("template", "rows", "expected"),
    [
        ([("$", 0), ("s", 0), ("c", 2)], [[9, 9, 1, 2], [1, 2]], [0, 0, 0, 2, 0, 2]),
        ([("$", 0), ("s", 1), ("c", 2)], [[9, 1, 2], [9, 2, 9], [2]], [0, 1, 2, 0, 0, 0, 2]),
        ([("c", 1), ("$", 0), ("s", 1)], [[2, 9, 1], [9], [2], []], [1, 0, 1, 0, 1]),
        ([("two", 1), ("$", 3)], [[3, 4, 4], [3], [4, 3]], [1, 1, 3, 1, 3, 3]),
        ([("$", 5)], [[1], [2, 3]], [5, 5, 5]),
    ],
)
def test_special_tokens_have_their_types_where_they_stand(
    template: list[tuple[str, int]], rows: list[list[int]], expected: list[int]
) -> None:
    types = TokenTypes.of(_state(template))

    assert types.of_batch(TokenBatch.of(rows)).tolist() == expected


@pytest.mark.parametrize(
    "processor",
    [
        None,
        {"type": "BertProcessing", "sep": ["s", 1], "cls": ["c", 2]},
        {"type": "Sequence", "processors": [{"type": "ByteLevel"}]},
    ],
)
def test_without_a_template_every_token_is_of_type_0(processor: object) -> None:
    assert TokenTypes.of(json.dumps({"post_processor": processor})) == TokenTypes()


@pytest.mark.parametrize(
    ("processor", "types"),
    [
        (None, {0, 1}),
        ({"type": "BertProcessing"}, {0, 1}),
        ({"type": "TemplateProcessing", "single": [], "pair": []}, {0}),
        (
            {
                "type": "TemplateProcessing",
                "pair": [{"SpecialToken": {"id": "s", "type_id": 0}}, {"Sequence": {"type_id": 3}}],
            },
            {0, 3},
        ),
    ],
)
def test_types_of_pairs_are_those_of_their_template(processor: object, types: set[int]) -> None:
    state = json.dumps({"post_processor": processor})

    assert TokenTypes.of(state, pairs=True).all == types
    assert TokenTypes.of(state).all == {0}


def test_pairs_bring_their_types_and_other_inputs_get_those_of_the_template() -> None:
    types = TokenTypes.of(_state([("c", 2), ("$", 0)]))
    pair = PairRow(np.array([2, 9, 9], np.int32), np.array([0, 0, 1], np.int8))

    assert types.of_batch(TokenBatch.of([pair, [2, 9]])).tolist() == [0, 0, 1, 2, 0]
