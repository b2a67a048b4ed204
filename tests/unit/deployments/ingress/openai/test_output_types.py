"""Several kinds of results on the embeddings route: rows, forms and streams."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.ingress.openai.output_types import CHUNK
from tests.unit.deployments.ingress.fake_service import ALIAS, FakeService
from tests.unit.deployments.ingress.letter_outputs import THREE
from tests.unit.deployments.ingress.openai.output_requests import NDJSON, post_outputs, three_kinds
from tests.unit.examples import TIMES

ALL = ["dense", "sparse", "multi_vector"]
A, B, D = (ord(letter) for letter in "abd")


async def _data(service: FakeService | None = None, /, **body: Any) -> list[dict[str, Any]]:
    response = await post_outputs(body, service)
    assert response.status_code == 200, response.text
    data: list[dict[str, Any]] = response.json()["data"]
    return data


async def test_each_input_has_the_results_of_every_type_from_one_pass() -> None:
    service = three_kinds()
    response = await post_outputs(
        {"input": ["bab", "d"], "output_types": ALL, "model": THREE}, service
    )

    assert response.json() == {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": 0,
                "embedding": pytest.approx([0, 0, 2 / 5**0.5, 1 / 5**0.5]),
                "sparse_embedding": {"indices": [A, B], "values": [1, 2]},
                "multi_vector": [[2, 1], [1, 1], [2, 1]],
            },
            {
                "object": "embedding",
                "index": 1,
                "embedding": [1, 0, 0, 0],
                "sparse_embedding": {"indices": [D], "values": [1]},
                "multi_vector": [[4, 1]],
            },
        ],
        "model": THREE,
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    }
    assert len(service.encoder.calls) == 1
    assert response.headers["x-cache-hits"] == "0"


@pytest.mark.parametrize(
    ("types", "model", "names"),
    [
        (["sparse"], "/models/weights", {"sparse_embedding"}),
        (["multi_vector"], "/models/tokens", {"multi_vector"}),
        (["sparse", "dense", "sparse"], THREE, {"embedding", "sparse_embedding"}),
        (["dense", "multi_vector"], THREE, {"embedding", "multi_vector"}),
        (["dense"], ALIAS, {"embedding"}),
    ],
)
async def test_without_a_name_the_first_model_with_all_types_answers(
    types: list[str], model: str, names: set[str]
) -> None:
    response = await post_outputs({"input": "a", "output_types": types})

    (row,) = response.json()["data"]
    assert response.json()["model"] == model.rpartition("/")[2] or response.json()["model"] == model
    assert row.keys() == {"object", "index", *names}


async def test_dense_alone_is_the_usual_answer() -> None:
    usual = await post_outputs({"input": ["ab", "c"]})
    dense = await post_outputs({"input": ["ab", "c"], "output_types": ["dense"]})

    assert usual.json() == dense.json()


async def test_dense_and_token_vectors_may_be_base64() -> None:
    body = {"input": ["bab"], "output_types": ALL, "model": THREE}
    (row,) = await _data(**body, encoding_format="base64")
    (plain,) = await _data(**body)

    assert row["sparse_embedding"] == plain["sparse_embedding"]
    dense = np.frombuffer(base64.b64decode(row["embedding"]), "<f4")
    np.testing.assert_array_equal(dense, np.array(plain["embedding"], np.float32))
    tokens = [np.frombuffer(base64.b64decode(one), "<f4").tolist() for one in row["multi_vector"]]
    assert tokens == plain["multi_vector"]


@pytest.mark.parametrize("dtype", ["float16", "binary", "ubinary"])
async def test_dense_and_token_vectors_have_the_type_of_a_component(dtype: str) -> None:
    body = {"input": ["bab"], "output_types": ["dense", "multi_vector"], "model": THREE}
    (row,) = await _data(**body, output_dtype=dtype)
    (alone,) = await _data(input=["bab"], model=THREE, output_dtype=dtype)

    bits = {"float16": [[2, 1]], "ubinary": [[0b11000000]], "binary": [[0b11000000 - 128]]}
    assert row["embedding"] == alone["embedding"]
    assert row["multi_vector"][:1] == bits[dtype]


async def test_options_of_dense_vectors_leave_the_others_as_they_are() -> None:
    body = {"input": ["bab"], "output_types": ALL, "model": THREE}
    (row,), (plain,) = await _data(**body, dimensions=2, normalize=False), await _data(**body)

    assert row["embedding"] == [0, 0]
    assert row["sparse_embedding"] == plain["sparse_embedding"]
    assert row["multi_vector"] == plain["multi_vector"]


async def test_a_stream_has_the_same_rows() -> None:
    texts = ["abcd"[number % 4] * (number % 7 + 1) for number in range(3 * CHUNK + 5)]
    body = {"input": texts, "output_types": ALL, "model": THREE}
    whole = (await post_outputs(body)).json()
    response = await post_outputs(body, accept=NDJSON)

    *rows, closing = [orjson.loads(line) for line in response.text.splitlines()]
    assert rows == whole.pop("data")
    assert closing == whole


async def test_a_stream_that_fails_later_has_the_error_in_its_last_line() -> None:
    texts = [*"abcd" * CHUNK, ""]
    body = {"input": texts, "output_types": ["sparse"]}
    response = await post_outputs(body, accept=NDJSON)

    *rows, last = [orjson.loads(line) for line in response.text.splitlines()]
    assert [row["index"] for row in rows] == list(range(4 * CHUNK))
    assert last["error"]["param"] == f"input[{4 * CHUNK}]"


async def test_the_chunks_of_a_text_have_their_ranges() -> None:
    rows = await _data(
        input="ab ba " * 4,
        output_types=["sparse", "multi_vector"],
        model=THREE,
        chunking={"size": 8, "overlap": 0},
    )

    assert [row["chunk"]["input"] for row in rows] == [0] * len(rows)
    assert len(rows) > 1
    for row in rows:
        assert row.keys() == {"object", "index", "chunk", "sparse_embedding", "multi_vector"}


@settings(max_examples=20 * TIMES)
@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=3))
async def test_texts_of_any_characters_have_their_rows(texts: list[str]) -> None:
    rows = await _data(input=texts, output_types=["sparse", "multi_vector"])

    for text, row in zip(texts, rows, strict=True):
        assert row["sparse_embedding"]["indices"] == sorted(set(map(ord, text)))
        assert [vector[0] - 1 + A for vector in row["multi_vector"]] == list(map(ord, text))
