"""Several models in one service: each by its names, changed while requests run."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from embedder.core.deadline import NEVER, Deadline
from embedder.core.errors import DeadlineExceeded
from embedder.core.request import EmbedOptions
from tests.unit.deployments.ingress.fake_service import (
    ALIAS,
    REPOSITORY,
    FakeService,
    refusal,
)
from tests.unit.deployments.ingress.loads import settle
from tests.unit.deployments.ingress.model_requests import (
    BACKWARDS,
    DEFAULT,
    FORWARDS,
    OWN,
    embed,
    hold_load,
    listed_models,
    until_state,
    vector_of,
)


@pytest.mark.parametrize(
    ("name", "expected", "expected_model"),
    [
        (None, FORWARDS, ALIAS),
        (ALIAS, FORWARDS, ALIAS),
        (REPOSITORY, FORWARDS, REPOSITORY),
        ("own", BACKWARDS, "own"),
        (OWN, BACKWARDS, OWN),
    ],
)
async def test_a_request_goes_to_the_model_that_it_names(
    name: str | None, expected: list[float], expected_model: str
) -> None:
    response = await embed(FakeService(DEFAULT, {"name": OWN}), name)
    body = response.json()

    np.testing.assert_allclose(body["data"][0]["embedding"], expected, atol=1e-6)
    assert body["model"] == expected_model


async def test_the_caches_never_answer_for_another_model() -> None:
    service = FakeService(DEFAULT, {"name": OWN})
    answers = [await vector_of(service, name) for name in (ALIAS, "own", ALIAS, "own")]

    np.testing.assert_allclose(answers, [FORWARDS, BACKWARDS] * 2, atol=1e-6)
    assert len(service.encoder.calls) == 2


async def test_only_calls_for_models_that_are_not_pinned_prefer_a_replica() -> None:
    service = FakeService(DEFAULT, {"name": "third", "pinned": True}, {"name": OWN})
    for name in (None, "third", "own", "own"):
        await vector_of(service, name)
    (asked,) = service.handles["encoder"].multiplexed

    assert asked.startswith("own-")
    assert "secret" not in asked


async def test_an_alias_moves_to_another_model_when_that_has_been_loaded() -> None:
    service = FakeService({"name": ALIAS, "alias": "prod"})
    before = await vector_of(service, "prod")
    loaded = hold_load(service.encoder, OWN)
    service.configure({"models": [{"name": OWN, "alias": "prod"}]})
    meanwhile = [await vector_of(service, "prod"), await vector_of(service)]
    states = [(one["id"], one["state"]) for one in await listed_models(service)]
    loaded.set()
    await until_state(service, "prod", "ready")
    after = [
        await vector_of(service, "prod"),
        await vector_of(service),
        await vector_of(service, "own"),
    ]

    np.testing.assert_allclose([before, *meanwhile], [FORWARDS] * 3, atol=1e-6)
    np.testing.assert_allclose(after, [BACKWARDS] * 3, atol=1e-6)
    assert states == [("prod", "changing")]
    assert refusal(await embed(service, ALIAS)) == (404, "model_not_found", "model")


async def test_a_model_that_cannot_be_loaded_leaves_the_others_serving() -> None:
    service = FakeService(DEFAULT, {"name": OWN})
    service.encoder.missing.add(OWN)
    refused = await embed(service, "own")
    served = await vector_of(service)

    assert refusal(refused) == (500, "internal_error", None)
    assert "secret" not in refused.text
    np.testing.assert_allclose(served, FORWARDS, atol=1e-6)


async def test_a_change_that_cannot_be_loaded_is_not_noticed_by_any_client() -> None:
    service = FakeService({"name": ALIAS, "alias": "prod"})
    await vector_of(service, "prod")
    service.encoder.missing.add(OWN)
    service.configure({"models": [{"name": OWN, "alias": "prod"}]})
    await until_state(service, "prod", "failed")

    np.testing.assert_allclose(await vector_of(service, "prod"), FORWARDS, atol=1e-6)
    assert (await listed_models(service))[0]["state"] == "failed"
    assert len(service.encoder.calls) == 1  # the cache had the second answer


async def test_a_request_that_began_before_a_change_is_answered_by_the_model_it_began_with() -> (
    None
):
    service = FakeService({"name": ALIAS, "alias": "prod"})
    loaded = hold_load(service.encoder, ALIAS)
    began = asyncio.ensure_future(service.embed(["aaabbbb"], EmbedOptions(), NEVER, model="prod"))
    await settle()
    service.configure({"models": [{"name": OWN, "alias": "prod"}]})
    await until_state(service, "prod", "ready")
    loaded.set()

    np.testing.assert_allclose((await began).vectors, [FORWARDS], atol=1e-6)
    np.testing.assert_allclose(await vector_of(service, "prod"), BACKWARDS, atol=1e-6)


async def test_a_load_that_exceeds_a_deadline_fails_that_request_alone() -> None:
    service = FakeService(DEFAULT, {"name": OWN})
    loaded = hold_load(service.encoder, OWN)
    with pytest.raises(DeadlineExceeded):
        await service.embed(["aaabbbb"], EmbedOptions(), Deadline.after(0.01), model="own")
    loaded.set()

    np.testing.assert_allclose(await vector_of(service, "own"), BACKWARDS, atol=1e-6)
    assert len(service.handles["encoder"].multiplexed) == 1


@pytest.mark.parametrize("wrong", [{"models": []}, {"models": [{"nam": "x"}]}, {"model": {}}])
async def test_an_invalid_list_of_models_does_not_change_a_running_service(
    wrong: dict[str, Any],
) -> None:
    service = FakeService(DEFAULT, {"name": OWN})
    await vector_of(service)  # the default model is loaded from here on
    before = await listed_models(service)
    service.configure(wrong)

    assert await listed_models(service) == before
    np.testing.assert_allclose(await vector_of(service), FORWARDS, atol=1e-6)


async def test_a_service_does_not_start_with_an_invalid_list_of_models() -> None:
    with pytest.raises(ValidationError):
        FakeService({"nam": "x"})
