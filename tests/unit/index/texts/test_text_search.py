"""A search by words finds what BM25 over all texts finds, whatever was written before."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from embedder.core.errors import InvalidInput, LimitExceeded, UnknownCollection
from embedder.core.storage_errors import StaleCollection
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.limits import MAX_QUERY_CHARACTERS, MAX_TOP_K
from embedder.index.contract.points import PAYLOAD, Points
from embedder.index.contract.texts import TextQuery, TextStatistics
from embedder.index.vector_index import VectorIndex
from tests.unit.index.places import PLACES, Place
from tests.unit.index.reembedding.steps import NEW_SPEC, complete
from tests.unit.index.small_index import ALL_FIELDS
from tests.unit.index.texts.text_oracle import best

WORDS = ["wing", "flow", "heat", "Überschall", "plate", "shock", "中文分词", "the", "THE", "a"]
QUERIES = ["wing flow", "the the heat", "überschall 中文", "absent", "", "a plate, a shock"]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    place = PLACES[request.param](tmp_path / "index")
    yield place
    place.discard()


def _open(place: Place) -> VectorIndex:
    return VectorIndex(place.settings(), background=False)


def _points(texts: Mapping[str, str | None]) -> Points:
    vectors = np.ones((len(texts), 2), np.float32)
    return Points(list(texts), vectors, list(texts.values()), [{"id": one} for one in texts])


def _texts(count: int, seed: int) -> dict[str, str | None]:
    chosen = random.Random(seed)
    return {
        f"p{at}": None
        if chosen.random() < 0.1
        else " ".join(chosen.choices(WORDS, k=chosen.randrange(9)))
        for at in chosen.sample(range(400), count)
    }


def _check(index: VectorIndex, texts: Mapping[str, str | None], name: str = "c") -> None:
    for query in QUERIES:
        expected = best(texts, query)
        (found,) = index.search_text([TextQuery(name, query, MAX_TOP_K)])
        assert [(hit.id, hit.text) for hit in found] == [(one, texts[one]) for one, _ in expected]
        assert [hit.score for hit in found] == pytest.approx([score for _, score in expected])
        (few,) = index.search_text([TextQuery(name, query, 3)])
        assert few == found[:3]


def test_searches_follow_every_kind_of_write(place: Place, tmp_path: Path) -> None:
    texts = _texts(200, 1)
    index = _open(place)
    index.upsert("c", _points(texts))
    _check(index, texts)
    changed = _texts(60, 2)
    texts |= changed
    index.upsert("c", _points(changed))
    _check(index, texts)
    gone = list(texts)[::3]
    index.delete_points("c", gone)
    index.delete_matching("c", parse({"id": {"$in": list(texts)[1::3]}}))
    texts = {one: text for at, (one, text) in enumerate(texts.items()) if at % 3 == 2}
    _check(index, texts)
    index.close()
    with closing(_open(place)) as index:
        _check(index, texts)
        index.back_up("c", tmp_path / "copy")
        index.restore(tmp_path / "copy", "again")
        index.delete("c")
        _check(index, texts, "again")
        with pytest.raises(UnknownCollection):
            index.search_text([TextQuery("c", "wing", 1)])


def test_a_new_model_keeps_the_texts(place: Place) -> None:
    texts = {name: text for name, text in _texts(50, 3).items() if text}
    with closing(_open(place)) as index:
        index.upsert("c", _points(texts))
        complete(index, spec=NEW_SPEC)

        assert index.describe("c").width == 3
        _check(index, texts)


def test_hits_are_chosen_by_filter_threshold_and_top_k(place: Place) -> None:
    texts = {"b": "wing", "a": "wing", "c": "wing flow heat", "d": "flow", "e": None}
    with closing(_open(place)) as index:
        index.upsert("c", _points(texts))

        def found(query: str, top_k: int = 9, **given: object) -> list[str]:
            asked = TextQuery("c", query, top_k, **given)  # type: ignore[arg-type]
            return [hit.id for hit in index.search_text([asked])[0]]

        assert found("wing") == ["a", "b", "c"], "equal scores are in the order of the ids"
        assert found("wing", 1) == ["a"]
        assert found("wing", filter=parse({"id": {"$ne": "a"}})) == ["b", "c"]
        assert found("wing", filter=parse({"id": "absent"})) == []
        lowest = best(texts, "wing")[-1][1]
        assert found("wing", threshold=lowest) == ["a", "b", "c"]
        assert found("wing", threshold=np.nextafter(lowest, 1).item()) == ["a", "b"]


def test_hits_have_the_included_fields(place: Place) -> None:
    with closing(_open(place)) as index:
        index.upsert("c", _points({"a": "wing"}))
        for include in [(), PAYLOAD, ALL_FIELDS]:
            ((hit,),) = index.search_text([TextQuery("c", "wing", 1, include=include)])

            assert hit.text == ("wing" if "text" in include else None)
            assert hit.metadata == ({"id": "a"} if "metadata" in include else {})
            assert (hit.vector is None) == ("vector" not in include)
            assert hit.distance is None


def test_given_statistics_replace_those_of_the_shard(place: Place) -> None:
    with closing(_open(place)) as index:
        index.upsert("c", _points({"a": "wing", "b": "flow"}))
        own = index.text_statistics("c", ["wing absent"])
        given = TextStatistics(2000, 4000, {"wing": 1})
        ((before,),) = index.search_text([TextQuery("c", "wing", 1)])
        ((after,),) = index.search_text([TextQuery("c", "wing", 1, statistics=given)])

        assert own == TextStatistics(2, 2, {"wing": 1, "absent": 0})
        assert after.score > 2 * before.score


def test_what_no_search_can_answer_is_refused(place: Place) -> None:
    with closing(_open(place)) as index:
        index.upsert("c", _points({"a": "wing " * 100, "b": "wing"}))
        for field, query in [
            ("top_k", TextQuery("c", "a", 0)),
            ("top_k", TextQuery("c", "a", MAX_TOP_K + 1)),
            ("threshold", TextQuery("c", "a", 1, threshold=float("nan"))),
            ("text", TextQuery("c", "x" * (MAX_QUERY_CHARACTERS + 1), 1)),
            ("queries[3].text", TextQuery("c", "\ud800", 1, field="queries[3].text")),
        ]:
            with pytest.raises(InvalidInput) as caught:
                index.search_text([query])
            assert caught.value.field == field
        index.search_text([TextQuery("c", "x" * MAX_QUERY_CHARACTERS, 1)])
        with pytest.raises(LimitExceeded, match="top_k"):
            index.search_text([TextQuery("c", "wing", 2, max_bytes=500)])
        with pytest.raises(StaleCollection):
            index.search_text([TextQuery("c", "wing", 2, identity="another")])
