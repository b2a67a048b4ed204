"""Requests for several kinds of results that are refused, and their limits."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.deployments.ingress.fake_service import ALIAS, FakeService, message, refusal
from tests.unit.deployments.ingress.letter_outputs import THREE, TOKENS, WEIGHTS
from tests.unit.deployments.ingress.openai.output_requests import NDJSON, post_outputs, three_kinds

ALL = ["dense", "sparse", "multi_vector"]


@pytest.mark.parametrize(
    ("body", "refused", "problem"),
    [
        ({"output_types": []}, ("invalid_input", "output_types"), "at least 1 item"),
        ({"output_types": ["colbert"]}, ("invalid_input", "output_types[0]"), "'multi_vector'"),
        (
            {"output_types": ["sparse"], "dimensions": 2},
            ("invalid_input", "dimensions"),
            "output_types leaves out",
        ),
        (
            {"output_types": ["multi_vector"], "output_dtype": "int8"},
            ("invalid_input", "output_dtype"),
            "token vectors need not be",
        ),
        (
            {"output_types": ["sparse", "dense"], "output_dtype": "int8", "normalize": False},
            ("invalid_input", "output_dtype"),
            "normalize is false",
        ),
        (
            {"output_types": ["sparse"], "model": ALIAS},
            ("unsupported_task", "model"),
            "which cannot compute sparse weights",
        ),
        (
            {"output_types": ["sparse", "multi_vector"], "model": WEIGHTS},
            ("unsupported_task", "model"),
            "which cannot compute token vectors",
        ),
        ({"output_types": ["sparse"], "model": "x"}, ("model_not_found", "model"), "served: "),
        (
            {"output_types": ["sparse"], "input": ["a", ""]},
            ("invalid_input", "input[1]"),
            "must not be empty",
        ),
    ],
)
async def test_what_does_not_apply_is_refused_by_its_name(
    body: dict[str, Any], refused: tuple[str, str], problem: str
) -> None:
    response = await post_outputs({"input": "a", **body})

    assert refusal(response)[1:] == refused
    assert problem in message(response)


async def test_no_model_with_all_types_is_said() -> None:
    served = FakeService({"name": WEIGHTS}, {"name": TOKENS})
    response = await post_outputs(
        {"input": "a", "output_types": ["sparse", "multi_vector"]}, served
    )

    assert refusal(response) == (400, "unsupported_task", "model")
    expected = "no served model can compute sparse weights and compute token vectors"
    assert expected in message(response)


@pytest.mark.parametrize("kind", ["application/x-npy", "application/octet-stream"])
async def test_bytes_have_no_place_for_several_results(kind: str) -> None:
    response = await post_outputs({"input": "a", "output_types": ["sparse"]}, accept=kind)

    assert refusal(response) == (400, "invalid_input", "output_types")
    assert kind in message(response)


async def test_a_response_above_the_limit_is_refused() -> None:
    body = {"input": ["bab"], "output_types": ALL, "model": THREE}
    size = 64 + 4 * 13 + 64 + 2 * 19 + 64 + 3 * (2 * 13 + 3)
    edge = await post_outputs(body, three_kinds(max_response_bytes=size))
    above = await post_outputs(body, three_kinds(max_response_bytes=size - 1))

    assert edge.status_code == 200
    assert refusal(above) == (400, "limit_exceeded", "input")
    assert f"has {size} bytes in its answer (max_response_bytes)" in message(above)


async def test_many_token_vectors_are_refused_before_they_are_computed() -> None:
    service = three_kinds(max_response_bytes=200)
    body = {"input": ["abcd" * 2] * 9, "output_types": ["multi_vector"]}

    assert refusal(await post_outputs(body, service)) == (400, "limit_exceeded", "input")
    assert service.encoder.calls == []


async def test_one_input_more_than_the_limit_is_refused() -> None:
    body = {"input": ["a"] * 3, "output_types": ["sparse"]}
    edge = await post_outputs(body, three_kinds(max_inputs=3))
    above = [
        await post_outputs(body, three_kinds(max_inputs=2), accept=accept)
        for accept in ("application/json", NDJSON)
    ]

    assert edge.status_code == 200
    assert [refusal(one) for one in above] == [(400, "limit_exceeded", "input")] * 2
