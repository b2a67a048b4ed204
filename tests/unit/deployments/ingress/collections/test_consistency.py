"""Every read of points and collections says whether it must see the last writes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest

from deployments.index.methods import METHODS
from deployments.index.replica import IndexReplica
from embedder.core.errors import StageUnavailable
from tests.unit.deployments.ingress.collections.plane import Plane
from tests.unit.deployments.ingress.fake_service import message, refusal

URL = "/v1/collections/plane"
Send = Callable[[httpx.AsyncClient, dict[str, Any]], Coroutine[Any, Any, httpx.Response]]


def _post(path: str, **body: Any) -> Send:
    return lambda http, given: http.post(f"{URL}/{path}", json={**body, **given})


def _get(url: str) -> Send:
    return lambda http, given: http.get(url, params=given)


READS: dict[str, Send] = {
    "search by vector": _post("search", vector=[1, 2]),
    "search by text": _post("search", text="abcd"),
    "search by id": _post("search", id="near"),
    "searches": _post("search", queries=[{"vector": [1, 2]}, {"id": "near"}]),
    "fetch": _post("points/fetch", ids=["near"]),
    "count": _post("points/count"),
    "count by a filter": _post("points/count", filter={"n": 1}),
    "scroll": _post("points/scroll"),
    "read": _get(f"{URL}/points/near"),
    "describe": _get(URL),
    "list": _get("/v1/collections"),
}
every_read = pytest.mark.parametrize("send", READS.values(), ids=READS)


class _Asked:
    """The consistency of every call to the index."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.consistencies: list[str] = []
        call = IndexReplica.call

        async def noted(replica: IndexReplica, name: str, *arguments: Any) -> Any:
            last = arguments[-1] if arguments else None
            if METHODS[name].threads == "search":
                self.consistencies += [query.consistency for query in arguments[0]]
            elif last in ("latest", "stale"):
                self.consistencies.append(last)
            return await call(replica, name, *arguments)

        monkeypatch.setattr(IndexReplica, "call", noted)


@every_read
async def test_every_call_of_a_read_has_its_consistency(
    plane: Plane, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _Asked(monkeypatch)
    for given in ({}, {"consistency": "latest"}, {"consistency": "stale"}):
        asked.consistencies.clear()
        response = await send(plane.http, given)

        assert response.status_code in (200, 400), "a text of four letters does not fit the plane"
        assert asked.consistencies
        assert set(asked.consistencies) == {given.get("consistency", "latest")}


@every_read
async def test_another_value_is_refused_with_the_name_of_the_field(
    plane: Plane, send: Send
) -> None:
    for value in ("newest", "", "Latest"):
        response = await send(plane.http, {"consistency": value})

        assert refusal(response) == (400, "invalid_input", "consistency")
        assert "'latest' or 'stale'" in message(response)


async def test_each_query_has_the_consistency_of_the_request(plane: Plane) -> None:
    response = await plane.search(queries=[{"vector": [1, 2], "consistency": "stale"}])

    assert refusal(response)[2] == "queries[0].consistency"


async def test_writes_have_none(plane: Plane) -> None:
    response = await plane.points({"id": "a", "vector": [1, 2]}, consistency="stale")

    assert refusal(response)[2] == "consistency"


@every_read
async def test_while_the_database_is_down_a_read_is_to_be_repeated(
    plane: Plane, send: Send
) -> None:
    plane.service.handles["index"].fault = StageUnavailable("database of the index", "horse at db")
    response = await send(plane.http, {})

    assert refusal(response) == (503, "stage_unavailable", None)
    assert int(response.headers["retry-after"]) >= 1
    assert response.headers["x-should-retry"] == "true"
    assert message(response) == "the database of the index is not available"


async def test_while_the_database_is_down_a_write_is_to_be_repeated(plane: Plane) -> None:
    plane.service.handles["index"].fault = StageUnavailable("database of the index", "horse at db")
    for response in (
        await plane.points({"id": "a", "vector": [1, 2]}),
        await plane.http.post(f"{URL}/points/delete", json={"ids": ["near"]}),
        await plane.http.put(URL, json={}),
        await plane.http.delete(URL),
    ):
        assert refusal(response) == (503, "stage_unavailable", None)
        assert int(response.headers["retry-after"]) >= 1
