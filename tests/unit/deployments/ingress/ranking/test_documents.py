"""Documents as clients send them, and cut after some tokens.

A token of the fake model is a letter, and it reads eight, those of the query included.
"""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.ingress.ranking.documents import to_documents
from embedder.core.errors import InvalidInput
from tests.unit.deployments.ingress.fake_service import ALIAS, FakeService
from tests.unit.deployments.ingress.scoring_services import service


async def post(asked: FakeService, documents: list[Any], most: int) -> httpx.Response:
    body = {"query": "a", "documents": documents, "max_tokens_per_doc": most}
    async with asked.client() as http:
        return await http.post("/v2/rerank", json=body)


@pytest.mark.parametrize(("most", "kept"), [(1, 1), (3, 3), (7, 7), (8, 8), (100, 8)])
async def test_documents_are_cut_after_so_many_tokens(most: int, kept: int) -> None:
    asked = service()
    answer = (await post(asked, ["a" * 40, "b"], most)).json()
    row = asked.encoder.calls[-1][0][0]

    assert answer["results"][0]["index"] == 0
    assert len(row) == min(kept + 1, 8)


async def test_documents_are_cut_to_the_same_text_whatever_their_length() -> None:
    asked = service()
    await post(asked, ["a" * 17, "a" * 16, "a" * 15, "a", "a" * 500], 1)

    assert asked.encoder.calls[-1][0] == [[97, 97]]


async def test_documents_are_also_cut_where_vectors_are_compared() -> None:
    body = {"query": "b", "documents": ["aab"], "max_tokens_per_doc": 2, "method": "bi-encoder"}
    async with service(ALIAS).client() as http:
        cut = (await http.post("/v2/rerank", json=body)).json()
        short = (await http.post("/v2/rerank", json={**body, "documents": ["aa"]})).json()

    assert cut["results"] == short["results"]
    assert cut["meta"] == short["meta"]


async def test_too_many_documents_are_refused_before_they_are_cut() -> None:
    asked = service(max_inputs=3)
    asked.handles["tokenizer"].fault = ZeroDivisionError("not to be asked")
    answer = await post(asked, ["aa"] * 4, 1)

    assert answer.status_code == 400
    assert answer.json() == {"message": "'documents' has 4 items; the limit is 3"}


@given(st.lists(st.text() | st.builds(lambda text: {"text": text}, st.text())))
def test_any_text_is_a_document(documents: list[Any]) -> None:
    texts = to_documents(documents)

    assert texts == [one if isinstance(one, str) else one["text"] for one in documents]


@given(st.text(min_size=1), st.integers(0, 3))
def test_what_is_no_text_is_named_by_its_place(text: str, place: int) -> None:
    documents: list[Any] = [text] * 4
    documents[place] = [text]
    with pytest.raises(InvalidInput, match=rf"'documents\[{place}\]'"):
        to_documents(documents)
