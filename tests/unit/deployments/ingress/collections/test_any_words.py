"""Words of any Unicode over HTTP find the points that have one of them, and no others."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.index.lexical.analyzer import terms_of
from tests.unit.deployments.ingress.fake_service import FakeService
from tests.unit.index.hostile_strings import ANY_TEXT, IDS

PLANE = "/v1/collections/plane"
TEXTS = ANY_TEXT | st.sampled_from(["a b", "A. é", "e\u0301 b", "漢字仮名", "字", "\0a\0", "🙂"])


@given(st.dictionaries(IDS, TEXTS, min_size=1, max_size=6), TEXTS.filter(bool))
@settings(max_examples=20, deadline=None)
def test_points_with_a_word_of_the_query_are_found(stored: dict[str, str], words: str) -> None:
    points = [{"id": name, "vector": [1, 0], "text": text} for name, text in stored.items()]
    body = {"text": words, "hybrid": {"weights": {"dense": 0}}}

    async def check() -> None:
        async with FakeService().client() as http:
            written = await http.post(f"{PLANE}/points", json={"points": points})
            assert written.status_code == 200, written.text
            found = (await http.post(f"{PLANE}/search", json=body)).json()["results"]
            assert {hit["id"] for hit in found} == {
                name for name, text in stored.items() if {*terms_of(text)} & {*terms_of(words)}
            }

    asyncio.run(check())
