"""Classifying by text-embeddings-inference's contract.

The fake model counts a letter for each of its labels.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.ingress.tei.scoring_bodies import to_sequences
from embedder.core.errors import InvalidInput
from embedder.core.pairs import Pair
from tests.unit.deployments.ingress.fake_service import ALIAS
from tests.unit.deployments.ingress.scoring_services import service, sigmoid
from tests.unit.deployments.ingress.tei.answers import post, refusal


async def predicted(inputs: Any, **fields: Any) -> Any:
    response = await post("/predict", {"inputs": inputs, "model": "classes", **fields}, service())
    assert response.status_code == 200, response.text
    return response.json()


async def test_one_text_gets_a_list_of_labels_by_falling_score() -> None:
    predictions = await predicted("bbc")
    powers = {"b": math.exp(2), "c": math.exp(1), "a": 1.0}

    assert [one["label"] for one in predictions] == ["b", "c", "a"]
    assert {one["label"]: one["score"] for one in predictions} == pytest.approx(
        {label: power / sum(powers.values()) for label, power in powers.items()}, abs=1e-6
    )


async def test_a_batch_gets_a_list_for_each_input() -> None:
    rows = await predicted([["a"], ["b"]], raw_scores=True)

    assert [row[0] for row in rows] == [{"score": 1, "label": "a"}, {"score": 1, "label": "b"}]
    assert [len(row) for row in rows] == [3, 3]
    assert await predicted([["a"]], raw_scores=True) == rows[:1]


async def test_a_list_of_one_text_is_one_input_and_of_two_a_pair() -> None:
    assert await predicted(["c"]) == await predicted("c")
    pair = await predicted(["ab", "abc"], model="cross", raw_scores=True)
    batch = await predicted([["ab", "abc"], ["a"]], model="cross", raw_scores=True)

    assert pair == [{"score": 1, "label": "a relevance"}]
    assert batch[0] == pair
    assert len(batch) == 2


async def test_one_label_gets_a_sigmoid() -> None:
    (prediction,) = await predicted("aa", model="cross")

    assert prediction["score"] == pytest.approx(sigmoid(2), abs=1e-6)


@pytest.mark.parametrize(
    ("parameters", "scores"),
    [
        ({}, [1 / (1 + 2 / math.e), 1 / (math.e + 2), 1 / (math.e + 2)]),
        ({"top_k": 1}, [1 / (1 + 2 / math.e)]),
        ({"function_to_apply": "sigmoid"}, [sigmoid(1), 0.5, 0.5]),
        ({"function_to_apply": "none", "top_k": 2}, [1, 0]),
    ],
)
async def test_the_parameters_of_clients_of_the_hub_choose_function_and_labels(
    parameters: dict[str, Any], scores: list[float]
) -> None:
    (row,) = await predicted("b", parameters=parameters)

    assert row[0]["label"] == "b"
    assert [one["score"] for one in row] == pytest.approx(scores, abs=1e-6)


async def test_large_scores_stay_finite() -> None:
    body = {"inputs": "b" * 8, "model": "classes"}
    asked = service()
    asked.encoder.scale = 100.0
    row = (await post("/predict", body, asked)).json()

    assert [one["score"] for one in row] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("inputs", "field"),
    [
        (None, "inputs"),
        (5, "inputs"),
        ([5], "inputs[0]"),
        (["a", "b", "c"], "inputs"),
        ([[]], "inputs[0]"),
        ([["a"], "b"], "inputs[1]"),
        ([["a"], ["b", 5]], "inputs[1][1]"),
        (["a", ["b"]], "inputs[1]"),
        ([["a", "b", "c"]], "inputs[0]"),
        ("", "inputs[0]"),
        ([["a", ""]], "inputs[0].text"),
    ],
)
async def test_inputs_of_another_shape_are_named(inputs: Any, field: str) -> None:
    body = {"inputs": inputs, "model": "cross"}
    status, kind, sentence = refusal(await post("/predict", body, service()))

    assert (status, kind) == (422, "Validation")
    assert f"`{field}`" in sentence or f"'{field}'" in sentence


async def test_an_empty_batch_is_empty_and_a_full_one_is_not_too_large() -> None:
    full = await post("/predict", {"inputs": [["a"]] * 3}, service(max_inputs=3))
    empty = await post("/predict", {"inputs": []}, service())
    over = await post("/predict", {"inputs": [["a"]] * 4}, service(max_inputs=3))

    assert full.status_code == 200
    assert refusal(empty) == (400, "Empty", "`inputs` cannot be empty")
    assert refusal(over)[2] == "batch size 4 > maximum allowed batch size 3"


async def test_an_answer_that_would_be_too_large_is_refused_before_anything_is_computed() -> None:
    asked = service(max_response_bytes=400)
    answer = await post("/predict", {"inputs": [["a"]] * 4, "model": "classes"}, asked)

    assert "bytes in its answer" in refusal(answer)[2]
    assert asked.encoder.calls == []


async def test_a_model_of_vectors_cannot_classify() -> None:
    answer = await post("/predict", {"inputs": "a"}, service(ALIAS))

    assert "no served model can classify texts" in refusal(answer)[2]


TEXT = st.text(max_size=3)
ANYTHING = st.recursive(TEXT | st.none() | st.integers(), lambda one: st.lists(one, max_size=3))


@given(ANYTHING)
def test_whatever_is_accepted_keeps_its_texts_in_order(value: Any) -> None:
    try:
        sequences = to_sequences(value)
    except InvalidInput:
        return
    rows = value if sequences.is_batch else [[value] if isinstance(value, str) else value]
    found = [[row.query, row.text] if isinstance(row, Pair) else [row] for row in sequences.rows]
    assert found == rows
