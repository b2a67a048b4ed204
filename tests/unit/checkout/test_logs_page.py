"""What docs/logs.md says of settings, fields and sizes is what the service does."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import yaml
from ray.serve.schema import LoggingConfig, ServeDeploySchema

from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.middleware.request_id import MAX_REQUEST_ID
from deployments.ingress.middleware.request_log import ABANDONED, FinishedRequest
from deployments.logs.one_line import FRAMES, MAX_TRACEBACK, MAX_VALUE
from deployments.logs.output_log import BYTES_VARIABLE, COUNT_VARIABLE, ROTATION
from deployments.settings.access import ApiKey
from deployments.settings.logs import LogSettings
from embedder.core.deadline import NEVER
from embedder.core.errors import BackendFailure
from tests.readme import fenced

PAGE = (Path(__file__).parents[3] / "docs" / "logs.md").read_text()


def test_the_configuration_is_valid_and_names_every_setting() -> None:
    (block,) = fenced(PAGE, "yaml")
    document = yaml.safe_load(block)
    ServeDeploySchema.model_validate(document)
    logs = document["applications"][0]["args"]["logs"]

    assert LoggingConfig.model_validate(document["logging_config"]).encoding == "JSON"
    assert LogSettings.model_validate(logs).access_ratio == 0.01
    assert logs.keys() == LogSettings.model_fields.keys()
    assert logs == {**LogSettings().model_dump(), "access_ratio": 0.01}
    assert LogSettings().access_ratio == 0


def test_the_table_names_every_field() -> None:
    context = RequestContext(
        NEVER,
        key=ApiKey(name="a", sha256="0" * 64),
        path="/b",
        route="/{a}",
        model="m",
        error=BackendFailure(""),
    )
    named = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)))

    assert {"request_id", *FinishedRequest(context, 500, 0.0).fields()} <= set(named)


def test_the_limits_are_those_of_the_code() -> None:
    for text in (
        f"up to {MAX_REQUEST_ID} printable ASCII characters",
        f"{ABANDONED}: the client had gone",
        f"{MAX_VALUE} characters at most",
        f"the last {FRAMES} calls are kept, and {MAX_TRACEBACK:,} characters",
        f"at {int(ROTATION[BYTES_VARIABLE]) >> 20} MiB, and three earlier ones",
        "at most 40 MiB",
    ):
        assert text in PAGE
    assert ROTATION[COUNT_VARIABLE] == "3"


def test_the_parser_reads_the_time_of_a_record() -> None:
    (given,) = re.findall(r"Time_Format (.*)", PAGE)
    read = datetime.strptime("2026-11-30 18:59:41,055", given.replace("%L", "%f"))

    assert read.microsecond == 55_000
