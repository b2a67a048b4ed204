"""Several models at one door: each by its names, swapped while requests go on."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import ValidationError

from embedder.core.errors import DeadlineExceeded, ModelNotFound
from embedder.core.request import EmbedOptions
from tests.unit.deployments.ingress.fake_service import (
    ALIAS,
    REPOSITORY,
    FakeService,
    LetterEncoder,
    message,
    refusal,
)
from tests.unit.deployments.ingress.loads import settle

OWN = "/srv/secret/own"
"""A directory, whose model counts letters in the opposite order."""

DEFAULT = {"name": ALIAS}
FORWARDS, BACKWARDS = [0.6, 0.8, 0, 0], [0, 0, 0.8, 0.6]
"""What the two models say of "aaabbbb"."""


async def _embed(service: FakeService, model: str | None = None) -> httpx.Response:
    body = {"input": "aaabbbb"} if model is None else {"input": "aaabbbb", "model": model}
    async with service.client() as http:
        return await http.post("/v1/embeddings", json=body)


async def _vector(service: FakeService, model: str | None = None) -> Any:
    response = await _embed(service, model)
    assert response.status_code == 200, response.text
    return response.json()["data"][0]["embedding"]


async def _models(service: FakeService) -> list[dict[str, Any]]:
    async with service.client() as http:
        response = await http.get("/v1/models")
    data: list[dict[str, Any]] = response.json()["data"]
    return data


def _hold(encoder: LetterEncoder, name: str) -> asyncio.Event:
    """Let loads of a model wait, until the answer is set."""
    gate = encoder.gates[name] = asyncio.Event()
    return gate


async def _until(service: FakeService, name: str, state: str) -> None:
    """Return when the model of a name is so far."""
    for _ in range(1000):
        if service.described(name).state == state:
            return
        await asyncio.sleep(0)
    raise AssertionError(f"{name} is {service.described(name)}")


@pytest.mark.parametrize(
    ("name", "expected", "told"),
    [
        (None, FORWARDS, ALIAS),
        (ALIAS, FORWARDS, ALIAS),
        (REPOSITORY, FORWARDS, REPOSITORY),
        ("own", BACKWARDS, "own"),
        (OWN, BACKWARDS, OWN),
    ],
)
async def test_a_request_goes_to_the_model_that_it_names(
    name: str | None, expected: list[float], told: str
) -> None:
    response = await _embed(FakeService(DEFAULT, {"name": OWN}), name)
    body = response.json()

    np.testing.assert_allclose(body["data"][0]["embedding"], expected, atol=1e-6)
    assert body["model"] == told


async def test_the_caches_never_answer_for_another_model() -> None:
    service = FakeService(DEFAULT, {"name": OWN})
    answers = [await _vector(service, name) for name in (ALIAS, "own", ALIAS, "own")]

    np.testing.assert_allclose(answers, [FORWARDS, BACKWARDS] * 2, atol=1e-6)
    assert len(service.encoder.calls) == 2


async def test_only_models_that_are_not_on_every_replica_are_asked_for_where_they_are() -> None:
    service = FakeService(DEFAULT, {"name": "third", "pinned": True}, {"name": OWN})
    for name in (None, "third", "own", "own"):
        await _vector(service, name)
    (asked,) = service.handles["encoder"].multiplexed

    assert asked.startswith("own-")
    assert "secret" not in asked


async def test_an_alias_moves_to_another_model_when_that_has_been_loaded() -> None:
    service = FakeService({"name": ALIAS, "alias": "prod"})
    before = await _vector(service, "prod")
    loaded = _hold(service.encoder, OWN)
    service.configure({"models": [{"name": OWN, "alias": "prod"}]})
    meanwhile = [await _vector(service, "prod"), await _vector(service)]
    states = [(one["id"], one["state"]) for one in await _models(service)]
    loaded.set()
    await _until(service, "prod", "ready")
    after = [await _vector(service, "prod"), await _vector(service), await _vector(service, "own")]

    np.testing.assert_allclose([before, *meanwhile], [FORWARDS] * 3, atol=1e-6)
    np.testing.assert_allclose(after, [BACKWARDS] * 3, atol=1e-6)
    assert states == [("prod", "changing")]
    assert refusal(await _embed(service, ALIAS)) == (404, "model_not_found", "model")


async def test_a_model_that_cannot_be_loaded_leaves_the_others_serving() -> None:
    service = FakeService(DEFAULT, {"name": OWN})
    service.encoder.missing.add(OWN)
    refused = await _embed(service, "own")
    served = await _vector(service)

    assert refusal(refused) == (500, "internal_error", None)
    assert "secret" not in refused.text
    np.testing.assert_allclose(served, FORWARDS, atol=1e-6)


async def test_a_change_that_cannot_be_loaded_is_not_noticed_by_any_client() -> None:
    service = FakeService({"name": ALIAS, "alias": "prod"})
    await _vector(service, "prod")
    service.encoder.missing.add(OWN)
    service.configure({"models": [{"name": OWN, "alias": "prod"}]})
    await _until(service, "prod", "failed")

    np.testing.assert_allclose(await _vector(service, "prod"), FORWARDS, atol=1e-6)
    assert (await _models(service))[0]["state"] == "failed"
    assert len(service.encoder.calls) == 1  # the cache had the second answer


async def test_a_request_that_began_before_a_change_is_answered_by_the_model_it_began_with() -> (
    None
):
    service = FakeService({"name": ALIAS, "alias": "prod"})
    loaded = _hold(service.encoder, ALIAS)
    began = asyncio.ensure_future(service.embed(["aaabbbb"], EmbedOptions(), model="prod"))
    await settle()
    service.configure({"models": [{"name": OWN, "alias": "prod"}]})
    await _until(service, "prod", "ready")
    loaded.set()

    np.testing.assert_allclose((await began).vectors, [FORWARDS], atol=1e-6)
    np.testing.assert_allclose(await _vector(service, "prod"), BACKWARDS, atol=1e-6)


async def test_a_model_that_is_not_loaded_in_time_is_late_for_that_request_alone() -> None:
    service = FakeService(DEFAULT, {"name": OWN})
    loaded = _hold(service.encoder, OWN)
    with pytest.raises(DeadlineExceeded):
        await service.embed(["aaabbbb"], EmbedOptions(timeout_s=0.01), model="own")
    loaded.set()

    np.testing.assert_allclose(await _vector(service, "own"), BACKWARDS, atol=1e-6)
    assert len(service.handles["encoder"].multiplexed) == 1


@pytest.mark.parametrize("wrong", [{"models": []}, {"models": [{"nam": "x"}]}, {"model": {}}])
async def test_what_is_no_list_of_models_leaves_a_running_service_as_it_is(
    wrong: dict[str, Any],
) -> None:
    service = FakeService(DEFAULT, {"name": OWN})
    await _vector(service)  # the default model is loaded from here on
    before = await _models(service)
    service.configure(wrong)

    assert await _models(service) == before
    np.testing.assert_allclose(await _vector(service), FORWARDS, atol=1e-6)


async def test_what_is_no_list_of_models_starts_no_service() -> None:
    with pytest.raises(ValidationError):
        FakeService({"nam": "x"})


async def test_a_model_that_is_not_loaded_is_listed_by_what_is_known_of_it() -> None:
    service = FakeService(DEFAULT, {"name": OWN})
    _, own = await _models(service)

    assert {key: own[key] for key in own.keys() - {"created"}} == {
        "id": "own",
        "object": "model",
        "owned_by": "local",
        "state": "not loaded",
    }


async def test_a_model_that_is_loaded_tells_what_it_is() -> None:
    service = FakeService(DEFAULT)
    await _vector(service)
    (told,) = await _models(service)

    assert {key: told[key] for key in told.keys() - {"created"}} == {
        "id": ALIAS,
        "object": "model",
        "owned_by": "sentence-transformers",
        "state": "ready",
        "revision": "1",
        "dimensions": 4,
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


async def test_a_model_that_fails_while_another_serves_tells_what_serves() -> None:
    service = FakeService({"name": ALIAS, "alias": "prod"})
    await _vector(service)
    service.encoder.missing.add(OWN)
    service.configure({"models": [{"name": OWN, "alias": "prod"}]})
    await _until(service, "prod", "failed")
    (told,) = await _models(service)

    assert (told["id"], told["state"], told["pooling"]) == ("prod", "failed", "mean")
    assert "could not be loaded" in told["problem"]


@pytest.mark.parametrize("state", ["not loaded", "ready", "changing", "failed"])
async def test_no_client_is_told_a_path_or_what_an_error_says(state: str) -> None:
    service = FakeService(DEFAULT, {"name": "/elsewhere/secret/first", "alias": "own"})
    await service.model(None)
    if state != "not loaded":
        await _vector(service, "own")
    if state in ("changing", "failed"):
        gate = _hold(service.encoder, OWN)
        service.encoder.missing.add(OWN)
        service.configure({"models": [DEFAULT, {"name": OWN, "alias": "own"}]})
        if state == "failed":
            gate.set()
    await _until(service, "own", state)
    async with service.client() as http:
        answers = [await http.get(path) for path in ("/v1/models", "/v1/models/own", "/readyz")]

    assert answers[1].json()["state"] == state
    assert [answer.status_code for answer in answers] == [200] * 3
    assert "secret" not in "".join(answer.text for answer in answers)


async def test_readiness_does_not_tell_where_a_model_was_looked_for() -> None:
    service = FakeService({"name": OWN})
    error = ModelNotFound(OWN, ("/srv/secret/place",))
    service.handles["encoder"].fault = service.handles["tokenizer"].fault = error
    async with service.client() as http:
        response = await http.get("/readyz")

    assert response.status_code == 503
    assert "secret" not in response.text
    assert "cannot be loaded" in response.json()["stages"]["Encoder"]


async def test_an_unknown_name_is_refused_by_the_field_that_holds_it() -> None:
    response = await _embed(FakeService(DEFAULT, {"name": OWN}), "owm")

    assert refusal(response) == (404, "model_not_found", "model")
    assert "'owm'" in message(response)
