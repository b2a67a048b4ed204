"""The line of a request: which requests have one, what it says, and what it never says."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from ray.serve.schema import EncodingType

from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.middleware.keys import digest
from deployments.ingress.middleware.request_log import ABANDONED, FinishedRequest, RequestLog
from deployments.settings.access import ApiKey
from deployments.settings.logs import LogSettings
from embedder.core.deadline import NEVER
from embedder.core.errors import (
    BackendFailure,
    EmbedderError,
    InvalidInput,
    Overloaded,
    StageUnavailable,
)
from tests.unit.deployments.ingress.fake_service import FakeService
from tests.unit.deployments.logs.serve_log import LogFile, serve_log

KEY = "emb-sesame"
SECRET = "the text of a client"


def _finished(**given: Any) -> FinishedRequest:
    status, seconds = given.pop("status", 200), given.pop("seconds", 0.0)
    return FinishedRequest(RequestContext(NEVER, **given), status, seconds)


def _levels(caplog: pytest.LogCaptureFixture, log: RequestLog, request: FinishedRequest) -> Any:
    with caplog.at_level(logging.INFO, "ray.serve"):
        log.write(request)
    found = [(one.levelname, one.__dict__["event"]) for one in caplog.records]
    caplog.clear()
    return found


@pytest.mark.parametrize(("seconds", "lines"), [(1.999, []), (2.0, [("WARNING", "slow request")])])
def test_a_request_is_slow_from_the_setting_on(
    caplog: pytest.LogCaptureFixture, seconds: float, lines: list[Any]
) -> None:
    log = RequestLog(LogSettings(slow_request_s=2.0))

    assert _levels(caplog, log, _finished(seconds=seconds)) == lines


def test_no_request_is_slow_without_the_setting(caplog: pytest.LogCaptureFixture) -> None:
    assert (
        _levels(caplog, RequestLog(LogSettings(slow_request_s=None)), _finished(seconds=1e6)) == []
    )


@pytest.mark.parametrize(("draw", "lines"), [(0.2499, [("INFO", "request")]), (0.25, [])])
def test_a_share_of_all_requests_is_logged(
    caplog: pytest.LogCaptureFixture, draw: float, lines: list[Any]
) -> None:
    log = RequestLog(LogSettings(access_ratio=0.25), draw=lambda: draw)

    assert _levels(caplog, log, _finished()) == lines


@pytest.mark.parametrize(
    ("error", "status", "is_logged"),
    [
        (InvalidInput("input", "must not be empty"), 400, False),
        (Overloaded(1.0), 429, False),
        (StageUnavailable("Encoder", "lost"), 503, True),
        (StageUnavailable("Encoder", "lost in the middle of a stream"), 200, True),
    ],
)
def test_only_faults_are_failures(
    caplog: pytest.LogCaptureFixture, error: EmbedderError, status: int, is_logged: bool
) -> None:
    request = _finished(error=error, status=status)
    lines = _levels(caplog, RequestLog(LogSettings()), request)

    assert lines == ([("ERROR", "request failed")] if is_logged else [])


def test_a_failed_request_has_one_line_although_it_is_slow_and_sampled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = RequestLog(LogSettings(access_ratio=1.0))
    request = _finished(error=StageUnavailable("Encoder", "lost"), status=503, seconds=1e6)

    assert _levels(caplog, log, request) == [("ERROR", "request failed")]


def test_an_abandoned_request_has_the_status_of_nginx() -> None:
    values = _finished(status=ABANDONED).fields()

    assert (values["status"], values["reason"]) == (499, "abandoned")


def _service(**logs: Any) -> FakeService:
    entry = {"name": "team a", "sha256": digest(KEY.encode()), "scopes": ["read", "write"]}
    return FakeService(keys=[entry], logs=logs)


async def _post(service: FakeService, path: str, **body: Any) -> httpx.Response:
    headers = {"x-api-key": KEY, "x-request-id": "mine"}
    async with service.client() as http:
        return await http.post(path, json=body, headers=headers)


async def test_the_line_of_a_failure_in_json(tmp_path: Path) -> None:
    service = _service()
    service.handles["index"].fault = StageUnavailable("VectorIndex-0", "lost")
    with serve_log(tmp_path, EncodingType.JSON) as log:
        search = {"vector": [1.0, 0.0]}
        response = await _post(service, "/v1/collections/docs/search", **search)
        (record,) = log.records()

    assert response.status_code == 503
    duration_ms = record["duration_ms"]
    assert duration_ms >= 0
    expected = {
        "levelname": "ERROR",
        "event": "request failed",
        "request_id": "mine",
        "method": "POST",
        "route": "/v1/collections/{name}/search",
        "path": "/v1/collections/docs/search",
        "status": 503,
        "reason": "stage_unavailable",
        "key": "team a",
        "detail": "StageUnavailable('VectorIndex-0', 'lost')",
        "message": "request failed: method=POST route=/v1/collections/{name}/search "
        "path=/v1/collections/docs/search status=503 reason=stage_unavailable "
        f'duration_ms={duration_ms} key="team a" '
        "detail=\"StageUnavailable('VectorIndex-0', 'lost')\"",
    }
    assert {name: record.get(name) for name in expected} == expected


async def test_the_sampled_line_in_text(tmp_path: Path) -> None:
    service = _service(access_ratio=1.0)
    with serve_log(tmp_path) as log:
        response = await _post(service, "/v1/embeddings", input="a")
        (line,) = log.lines()

    assert response.status_code == 200
    assert line.startswith("INFO ")
    assert " embedder_Ingress ab12 mine -- request: method=POST route=/v1/embeddings " in line
    assert "status=200" in line
    assert line.endswith('key="team a"')


def test_a_recorded_request_names_its_trace(caplog: pytest.LogCaptureFixture) -> None:
    log = RequestLog(LogSettings(access_ratio=1.0))
    with (
        caplog.at_level(logging.INFO, "ray.serve"),
        TracerProvider().get_tracer("test").start_as_current_span("request") as span,
    ):
        log.write(_finished())

    trace_id = f"{span.get_span_context().trace_id:032x}"
    assert caplog.records[0].__dict__["trace_id"] == trace_id
    assert f" trace_id={trace_id}" in caplog.text


def _quoting(*_: Any, **__: Any) -> NoReturn:
    raise UnicodeEncodeError("utf-8", SECRET, 0, 1, "surrogates not allowed")


@pytest.mark.parametrize("encoding", list(EncodingType))
@pytest.mark.parametrize("wrong", ["model", "encoding_format", "nothing"])
async def test_no_text_and_no_key_is_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: EncodingType, wrong: str
) -> None:
    service = _service(access_ratio=1.0)
    body = {"input": SECRET, "model": "all-MiniLM-L6-v2", wrong: 5}
    if wrong == "nothing":
        del body[wrong]
        monkeypatch.setattr(service, "embed", _quoting)
    with serve_log(tmp_path, encoding) as log:
        await _post(service, "/v1/embeddings", **body)
        text = "\n".join(log.lines())

    assert "/v1/embeddings" in text
    assert SECRET not in text
    assert KEY not in text


@pytest.mark.parametrize("encoding", list(EncodingType))
async def test_a_remote_error_that_quotes_the_input_is_not_in_the_line(
    tmp_path: Path, encoding: EncodingType
) -> None:
    service = _service()
    service.encoder_pools.clear()
    error = BackendFailure(repr(ValueError(SECRET)))
    request = _finished(error=error, status=500)
    with serve_log(tmp_path, encoding) as log:
        RequestLog(LogSettings()).write(request)
        text = "\n".join(log.lines())

    assert "detail=BackendFailure" in text
    assert SECRET not in text


@pytest.fixture(scope="module")
def text_log(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with serve_log(tmp_path_factory.mktemp("log")) as log:
        yield log


@given(path=st.text(), model=st.text(), key=st.text(min_size=1))
def test_no_name_makes_a_second_line(text_log: LogFile, path: str, model: str, key: str) -> None:
    before = len(text_log.lines())
    named = ApiKey.model_construct(name=key, sha256="")  # the settings refuse most of these names
    log = RequestLog(LogSettings(access_ratio=1.0))
    log.write(_finished(path=path, model=model, key=named))
    (line,) = text_log.lines()[before:]

    assert line.isprintable()
    assert line.startswith("INFO ")


async def test_a_collection_whose_name_has_a_newline_makes_no_second_line(
    text_log: LogFile,
) -> None:
    service = _service(access_ratio=1.0)
    name = quote("docs\nERROR 2026-01-01 forged \u2028", safe="")
    before = len(text_log.lines())
    await _post(service, f"/v1/collections/{name}/search", vector=[1.0, 0.0])
    (line,) = text_log.lines()[before:]

    assert r"docs\nERROR 2026-01-01 forged \u2028/search" in line


def test_a_long_name_is_cut() -> None:
    values = _finished(path="/" + "a" * 10_000, model="m" * 10_000).fields()

    assert max(len(str(one)) for one in values.values()) == 501
