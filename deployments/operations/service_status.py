"""The state of the services on this machine, without a connection to their Rays."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from deployments.launch.preflight import load_applications
from deployments.launch.ray_token import TOKEN
from deployments.launch.readiness import readiness
from deployments.launch.services.choice import Candidate
from embedder.core.errors import ConfigurationError
from embedder.models.catalogue import model_names

APPLICATIONS = "/api/serve/applications/"
"""The path in Ray's dashboard with the configuration that was deployed last."""

ANSWER_S = 30.0
"""The first answer of the dashboard takes seconds: it connects to Ray before."""

ORPHANED = "its 'embedder serve' was killed; 'embedder stop' ends the remaining processes"
FOREIGN = "'embedder serve' did not start this Ray; 'serve status' shows what it runs"


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What `embedder status` prints of a service; None where this machine does not know it.

    ``ready`` is that of ``/readyz``, and ``problem`` names the stages that are not ready, required
    or not. ``models`` are those of the configuration that was deployed last. ``started_by`` is the
    process id of `embedder serve`, and ``processes`` has those of the service.
    """

    address: str | None = None
    ready: bool | None = None
    problem: str | None = None
    models: list[str] | None = None
    version: str | None = None
    started_at: str | None = None
    started_by: int | None = None
    started_in: str | None = None
    config: str | None = None
    data_directory: str | None = None
    dashboard: str | None = None
    logs: str | None = None
    token_file: str | None = None
    ray_address: str | None = None
    processes: list[int] = field(default_factory=list)


def statuses(found: Sequence[Candidate], environment: Mapping[str, str]) -> list[ServiceStatus]:
    """Return the status of each service; all are asked at the same time.

    ``environment`` may hold the token of Ray.
    """
    with ThreadPoolExecutor(max(len(found), 1)) as threads:
        return list(threads.map(partial(_status, environment=environment), found))


def _status(one: Candidate, environment: Mapping[str, str]) -> ServiceStatus:
    service = one.service
    if service is None:
        return ServiceStatus(ray_address=one.ray_address, problem=FOREIGN)
    described = service.description
    is_ready, problem = readiness(described.url)
    attended = service.is_attended
    token = _token(described.token_file, environment)
    return ServiceStatus(
        address=described.url,
        ready=is_ready and attended,
        problem=problem if attended else ORPHANED,
        models=None if described.dashboard is None else _models(described.dashboard, token),
        version=described.version,
        started_at=described.started_at,
        started_by=service.starter,
        started_in=described.started_in,
        config=described.config,
        data_directory=service.data_directory,
        dashboard=described.dashboard,
        logs=described.logs,
        token_file=described.token_file,
        ray_address=one.ray_address,
        processes=service.processes(),
    )


def _token(path: str | None, environment: Mapping[str, str]) -> str:
    """Return the token of a service's Ray; an empty one if it cannot be read."""
    if path is None:
        return environment.get(TOKEN, "")
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _models(dashboard: str, token: str) -> list[str] | None:
    """Return the names of the configured models; None if Ray's dashboard does not answer."""
    try:
        with closing(HTTPConnection(urlsplit(dashboard).netloc, timeout=ANSWER_S)) as connection:
            connection.request("GET", APPLICATIONS, headers={"authorization": f"Bearer {token}"})
            applications = json.loads(connection.getresponse().read())["applications"]
        configured = [one.get("deployed_app_config") or {} for one in applications.values()]
        return _names(configured)
    except (OSError, HTTPException, ValueError, KeyError, TypeError, AttributeError):
        return None


def _names(applications: Sequence[Mapping[str, Any]]) -> list[str] | None:
    """Return the names of the models in configured applications, in order.

    None if the variables of this process make one of them invalid.
    """
    try:
        served = [models for _, _, models in load_applications({"applications": applications})]
    except ConfigurationError:
        return None
    return [model_names(model)[0] for models in served for model in models.models]
