"""The list of models shows the state of each, and no paths."""

from __future__ import annotations

import pytest

from embedder.core.errors import ModelNotFound
from tests.unit.deployments.ingress.fake_service import (
    ALIAS,
    FakeService,
    message,
    refusal,
)
from tests.unit.deployments.ingress.model_requests import (
    DEFAULT,
    OWN,
    embed,
    hold_load,
    listed_models,
    until_state,
    vector_of,
)


async def test_a_model_that_is_not_loaded_is_listed_by_what_is_known_of_it() -> None:
    service = FakeService(DEFAULT, {"name": OWN})
    _, own = await listed_models(service)

    assert {key: own[key] for key in own.keys() - {"created"}} == {
        "id": "own",
        "object": "model",
        "owned_by": "local",
        "state": "not loaded",
    }


async def test_a_loaded_model_is_described() -> None:
    service = FakeService(DEFAULT)
    await vector_of(service)
    (listed,) = await listed_models(service)

    assert {key: listed[key] for key in listed.keys() - {"created"}} == {
        "id": ALIAS,
        "object": "model",
        "owned_by": "sentence-transformers",
        "state": "ready",
        "revision": "1",
        "dimensions": 4,
        "outputs": ["dense"],
        "labels": [],
        "matryoshka": [2],
        "max_input_tokens": 8,
        "pooling": "mean",
        "similarity": "cosine",
        "prompts": {},
        "backend": "test",
        "device": "cpu",
        "dtype": "float32",
        "notes": [],
    }


async def test_a_failed_model_is_listed_with_the_model_that_serves() -> None:
    service = FakeService({"name": ALIAS, "alias": "prod"})
    await vector_of(service)
    service.encoder.missing.add(OWN)
    service.configure({"models": [{"name": OWN, "alias": "prod"}]})
    await until_state(service, "prod", "failed")
    (listed,) = await listed_models(service)

    assert (listed["id"], listed["state"], listed["pooling"]) == ("prod", "failed", "mean")
    assert "could not be loaded" in listed["problem"]


@pytest.mark.parametrize("state", ["not loaded", "ready", "changing", "failed"])
async def test_clients_see_neither_paths_nor_messages_of_load_errors(state: str) -> None:
    service = FakeService(DEFAULT, {"name": "/elsewhere/secret/first", "alias": "own"})
    await service.model(None)
    if state != "not loaded":
        await vector_of(service, "own")
    if state in ("changing", "failed"):
        release = hold_load(service.encoder, OWN)
        service.encoder.missing.add(OWN)
        service.configure({"models": [DEFAULT, {"name": OWN, "alias": "own"}]})
        if state == "failed":
            release.set()
    await until_state(service, "own", state)
    async with service.client() as http:
        answers = [await http.get(path) for path in ("/v1/models", "/v1/models/own", "/readyz")]

    assert answers[1].json()["state"] == state
    assert [answer.status_code for answer in answers] == [200] * 3
    assert "secret" not in "".join(answer.text for answer in answers)


async def test_readiness_does_not_show_the_path_of_a_model() -> None:
    service = FakeService({"name": OWN})
    error = ModelNotFound(OWN, ("/srv/secret/place",))
    service.handles["encoder"].fault = service.handles["tokenizer"].fault = error
    async with service.client() as http:
        response = await http.get("/readyz")

    assert response.status_code == 503
    assert "secret" not in response.text
    assert "cannot be loaded" in response.json()["stages"]["Encoder"]


async def test_an_unknown_name_is_refused_by_the_field_that_holds_it() -> None:
    response = await embed(FakeService(DEFAULT, {"name": OWN}), "owm")

    assert refusal(response) == (404, "model_not_found", "model")
    assert "'owm'" in message(response)
