"""``embedder serve``: what it prints of Ray's dashboard."""

from __future__ import annotations

from deployments.commands.serve import sign_in
from deployments.launch.services.description import ServiceDescription


def test_the_dashboard_is_named_with_its_token() -> None:
    service = ServiceDescription(
        "http://127.0.0.1:8000",
        dashboard="http://127.0.0.1:8265",
        token_file="/home/ops/.ray/auth_token",
    )

    line = sign_in(service)

    assert "http://127.0.0.1:8265" in line
    assert "'ray get-auth-token' prints (in /home/ops/.ray/auth_token)" in line


def test_a_token_in_the_environment_has_no_file() -> None:
    service = ServiceDescription("http://127.0.0.1:8000", dashboard="http://127.0.0.1:8265")

    assert sign_in(service).endswith("'ray get-auth-token' prints")


def test_a_service_without_a_dashboard_says_so() -> None:
    assert sign_in(ServiceDescription("http://127.0.0.1:8000")) == "Ray's dashboard does not run"
