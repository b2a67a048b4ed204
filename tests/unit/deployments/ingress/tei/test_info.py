"""The routes of text-embeddings-inference about the service."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version

import pytest

from deployments.ingress.tei.info import describe
from deployments.settings.service import IngressLimits, ServeSettings
from embedder.core.errors import StageUnavailable
from tests.unit.deployments.ingress.fake_service import ALIAS, MODEL, REPOSITORY, FakeService
from tests.unit.deployments.ingress.tei.answers import get, refusal


async def test_the_first_model_is_described_with_the_limits_of_a_request() -> None:
    settings = {"batching": {"max_items": 77}, "tokenizer": {"max_replicas": 3}}
    body = (await get("/info", FakeService(max_inputs=33, **settings))).json()
    limits = body.pop("limits")

    assert body == {
        "model_id": REPOSITORY,
        "model_sha": "1",
        "model_dtype": "float32",
        "served_model_name": ALIAS,
        "model_type": {"embedding": {"pooling": "mean"}},
        "max_concurrent_requests": None,
        "max_input_length": 8,
        "max_batch_tokens": 100,
        "max_batch_requests": 77,
        "max_client_batch_size": 33,
        "auto_truncate": True,
        "tokenization_workers": 3,
        "version": version("embedder"),
        "sha": None,
        "docker_label": None,
    }
    assert limits == IngressLimits(max_inputs=33).model_dump()


async def test_another_model_is_described_where_it_is_named() -> None:
    service = FakeService({"name": ALIAS}, {"name": "/models/other"})
    body = (await get("/info?model=other", service)).json()

    assert (body["model_id"], body["served_model_name"]) == ("other", "other")
    assert body["model_type"] == {"embedding": {"pooling": "cls"}}
    assert body["model_sha"] is None


@pytest.mark.parametrize(
    ("pooling", "called"), [("last", "last_token"), ("cls", "cls"), ("max", "max")]
)
def test_a_pooling_goes_by_the_name_that_it_has_there(pooling: str, called: str) -> None:
    answer = describe(replace(MODEL, pooling=pooling), ServeSettings())

    assert answer.model_type.model_dump() == {"embedding": {"pooling": called}}


async def test_a_model_that_is_not_served_is_refused_in_that_shape() -> None:
    status, kind, sentence = refusal(await get("/info?model=none"))

    assert (status, kind) == (404, "Validation")
    assert "'none'" in sentence


async def test_healthy_is_an_answer_without_a_word() -> None:
    service = FakeService()
    await service.model(None)
    response = await get("/health", service)

    assert response.status_code == 200
    assert response.content == b""


@pytest.mark.parametrize("stage", ["tokenizer", "encoder"])
async def test_a_stage_that_fails_is_unhealthy_in_exactly_that_shape(stage: str) -> None:
    service = FakeService()
    service.handles[stage].fault = StageUnavailable(stage, "lost")

    response = await get("/health", service)

    assert response.status_code == 503
    assert response.json() == {"error": "unhealthy", "error_type": "Unhealthy"}
