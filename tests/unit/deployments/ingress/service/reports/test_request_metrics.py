"""What requests leave in the counters that metrics publish."""

from __future__ import annotations

from deployments.ingress.middleware.keys import digest
from tests.unit.deployments.ingress.fake_service import ALIAS, FakeService

KEY = "emb-metered"
JSON = {"content-type": "application/json"}
ROUTE = ("POST", "/v1/embeddings")


async def _posted(service: FakeService, path: str, body: object, **headers: str) -> int:
    async with service.client() as http:
        return (await http.post(path, json=body, headers=headers)).status_code


async def test_series_exist_before_the_first_request() -> None:
    service = FakeService()
    async with service.client() as http:
        await http.get("/healthz")
    stats = service.request_stats

    assert stats.requests[(*ROUTE, 200, "none", "interactive")] == 0
    assert (*ROUTE, 200, "none", "interactive") in stats.requests
    assert stats.seconds[ROUTE].count == 0
    assert {"overloaded", "internal_error", "model_not_found"} <= stats.errors.keys()


async def test_a_request_is_counted_by_route_status_model_and_priority() -> None:
    service = FakeService()
    await _posted(service, "/v1/embeddings", {"input": "aab"})
    await _posted(service, "/v1/embeddings", {"input": "aab", "priority": "bulk"})

    counts = +service.request_stats.requests
    assert counts == {
        (*ROUTE, 200, ALIAS, "interactive"): 1,
        (*ROUTE, 200, ALIAS, "bulk"): 1,
    }
    assert service.request_stats.seconds[ROUTE].count == 2
    assert service.token_usage.tokens == {(ALIAS, "none"): 6}


async def test_what_clients_invent_is_no_label() -> None:
    service = FakeService()
    async with service.client() as http:
        await http.request("INVENTED", "/v1/embeddings")
        await http.get("/\u2603/nowhere")
        await http.post("/v1/embeddings", json={"input": "a", "model": "\u2603\nnobody"})
        await http.post("/v1/embeddings", content=b"{", headers=JSON)
    stats = service.request_stats

    assert +stats.requests == {
        ("other", "other", 405, "none", "interactive"): 1,
        ("other", "other", 404, "none", "interactive"): 1,
        (*ROUTE, 404, "none", "interactive"): 1,
        (*ROUTE, 400, "none", "interactive"): 1,
    }
    assert +stats.errors == {
        "method_not_allowed": 1,
        "route_not_found": 1,
        "model_not_found": 1,
        "invalid_json": 1,
    }


async def test_a_request_that_fails_before_it_is_routed_has_its_route() -> None:
    keys = [{"name": "a", "sha256": digest(KEY.encode())}]
    service = FakeService(keys=keys)
    refused = await _posted(service, "/v1/embeddings", {"input": "a"})
    answered = await _posted(
        service, "/v1/embeddings", {"input": "a"}, authorization=f"Bearer {KEY}"
    )

    assert (refused, answered) == (401, 200)
    assert service.request_stats.requests[(*ROUTE, 401, "none", "interactive")] == 1
    assert service.token_usage.tokens == {(ALIAS, "a"): 1}


async def test_inputs_are_counted_by_the_source_of_their_vectors() -> None:
    service = FakeService()
    await _posted(service, "/v1/embeddings", {"input": ["a", "b", "a"]})
    await _posted(service, "/v1/embeddings", {"input": ["a"]})
    stats = service.pipeline_stats

    assert stats.inputs == {"local_cache": 1, "shared_cache": 0, "joined": 0, "computed": 2}
    assert stats.stage_seconds["encode"].count == 1
    assert stats.stage_seconds["tokenize"].count == 1
