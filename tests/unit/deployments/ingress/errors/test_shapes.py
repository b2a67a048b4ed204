"""Errors in the shapes of text-embeddings-inference, Cohere and Jina."""

from __future__ import annotations

import orjson
import pytest

from deployments.ingress.errors import http_errors
from deployments.ingress.errors.responses import ErrorShape, error_response
from deployments.ingress.errors.statuses import STATUSES
from embedder.core import errors
from embedder.core.errors import EmbedderError
from tests.unit.deployments.ingress.errors.samples import every_class, sample


@every_class
def test_errors_in_the_shape_of_tei_have_its_codes(kind: type[EmbedderError]) -> None:
    response = error_response(sample(kind), ErrorShape.TEI)
    body = orjson.loads(response.body)

    assert response.status_code == STATUSES[kind].tei_http
    assert body.keys() == {"error", "error_type"}
    assert body["error_type"] == STATUSES[kind].tei_kind
    if response.status_code == 424:
        assert "secret" not in body["error"]


@every_class
@pytest.mark.parametrize(
    ("shape", "name"), [(ErrorShape.COHERE, "message"), (ErrorShape.JINA, "detail")]
)
def test_errors_in_the_shapes_of_cohere_and_jina_have_a_message_and_the_usual_status(
    kind: type[EmbedderError], shape: ErrorShape, name: str
) -> None:
    response = error_response(sample(kind), shape, "r-1")
    usual = error_response(sample(kind), ErrorShape.OPENAI, "r-1")

    assert (response.status_code, response.headers.get("retry-after")) == (
        usual.status_code,
        usual.headers.get("retry-after"),
    )
    assert orjson.loads(response.body) == {name: orjson.loads(usual.body)["error"]["message"]}


@pytest.mark.parametrize(
    ("kind", "status", "type_"),
    [
        (errors.InvalidInput, 422, "Validation"),
        (errors.LimitExceeded, 422, "Validation"),
        (http_errors.EmptyInput, 400, "Empty"),
        (errors.Overloaded, 429, "Overloaded"),
        (errors.StageUnavailable, 503, "Unhealthy"),
        (errors.BackendFailure, 424, "Backend"),
        (http_errors.BodyTooLarge, 413, "Validation"),
    ],
)
def test_the_codes_of_text_embeddings_inference_are_kept(
    kind: type[EmbedderError], status: int, type_: str
) -> None:
    assert (STATUSES[kind].tei_http, STATUSES[kind].tei_kind) == (status, type_)
