"""A colocated stage is loaded unless its placement is remote, and a failure is no fault."""

from __future__ import annotations

import logging

import pytest

from deployments.encoder.colocated import ColocatedEncoder
from deployments.tokenizer.colocated import ColocatedTokenizer
from tests.unit.deployments.ingress.fake_service import FakeService


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Fail every load of a colocated stage, and return those that were tried."""
    tried: list[str] = []

    def fail(remote: object, *_: object) -> None:
        tried.append(type(remote).__name__)
        raise OSError("no such disk")

    monkeypatch.setattr(ColocatedTokenizer, "load", fail)
    monkeypatch.setattr(ColocatedEncoder, "load", fail)
    return tried


async def test_nothing_is_loaded_if_both_stages_are_remote(loads: list[str]) -> None:
    connection = await FakeService().models.get()

    assert loads == []
    assert (connection.colocated_tokenizer, connection.colocated_encoder) == (None, None)


@pytest.mark.parametrize("placement", ["auto", "colocated"])
async def test_without_a_colocated_stage_its_deployment_has_all_calls_and_the_log_says_why(
    caplog: pytest.LogCaptureFixture, loads: list[str], placement: str
) -> None:
    stage = {"placement": placement}
    service = FakeService(tokenizer=stage, encoder=stage)
    with caplog.at_level(logging.WARNING, "ray.serve"):
        response = await service.post_texts("aab")

    assert sorted(loads) == ["RemoteEncoder", "RemoteTokenizer"]
    assert response.status_code == 200
    assert len(service.encoder.calls) == 1
    assert caplog.text.count("no such disk") == 2


async def test_a_model_that_is_not_pinned_is_encoded_by_its_replicas_alone(
    loads: list[str],
) -> None:
    models = {"name": "all-MiniLM-L6-v2"}, {"name": "/models/other"}
    service = FakeService(*models, encoder={"placement": "colocated"})
    for name in (None, "other"):
        await service.models.get(name)

    assert loads == ["RemoteEncoder"]
