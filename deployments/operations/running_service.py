"""The handles of the running service, for operators' commands, and its reconfiguration.

A command connects to Ray with the token, like any program on the cluster.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray
from ray import serve
from ray.dashboard.modules.serve.sdk import ServeSubmissionClient
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ApplicationStatus, ServeDeploySchema

from deployments.rpc.handle_client import Handle
from embedder.core.errors import ConfigurationError

APPLICATION = "embedder"
NAMESPACE = "serve"
POLL_S = 0.5
DEPLOYING, RUNNING = ApplicationStatus.DEPLOYING, ApplicationStatus.RUNNING


@contextmanager
def running_service(address: str) -> Iterator[RunningService]:
    """Connect to the service that runs in the Ray with this address; disconnect at the end.

    Raises:
        ConfigurationError: Ray does not answer, or serves no such application.
    """
    # Keep Serve's log of connections out of the command's output.
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    try:
        context = ray.init(
            address=address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigurationError(
            f"Ray at {address} does not answer, or refuses the connection ({error}): it needs the "
            "token of the user who started it"
        ) from None
    try:
        applications = serve.status().applications
        if APPLICATION not in applications:
            raise ConfigurationError(f"Ray runs here, but serves no application {APPLICATION!r}")
        yield RunningService(sorted(applications[APPLICATION].deployments), context.dashboard_url)
    except RayServeException as error:
        raise ConfigurationError(f"Ray runs here, but nothing is served: {error}") from None
    finally:
        # A thread of Serve runs until the process ends, and logs calls that fail without Ray.
        for name in ("asyncio", "ray.serve"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        ray.shutdown()


class RunningService:
    """The deployments of the running application, by name.

    All calls go through Ray's object store, because pages of an archive exceed gRPC's limit.
    """

    def __init__(self, names: list[str], dashboard_url: str | None) -> None:
        self._names = names
        self._dashboard_url = dashboard_url

    @property
    def ingress(self) -> Handle:
        """Return the handle of the application."""
        return serve.get_app_handle(APPLICATION).options(_by_reference=True)

    def shards(self, deployment: str) -> dict[str, Handle]:
        """Return the handles of ``deployment``-0, -1 and so on, by their names, in that order."""
        prefix = f"{deployment}-"
        found = [name for name in self._names if name.startswith(prefix)]
        return {
            name: serve.get_deployment_handle(name, APPLICATION).options(_by_reference=True)
            for name in sorted(found, key=lambda name: int(name.removeprefix(prefix)))
        }

    def deploy(self, document: Mapping[str, Any]) -> None:
        """Apply a Serve configuration, and wait until its replicas run; models load afterwards.

        Raises:
            ConfigurationError: Serve refuses the configuration or fails to apply it, or Ray's
                dashboard does not answer.
        """
        try:
            schema = ServeDeploySchema.model_validate(document)
            client = ServeSubmissionClient(f"http://{self._dashboard_url}")
            client.deploy_applications(schema.model_dump(exclude_unset=True))
        except (ValueError, ConnectionError, RuntimeError) as error:
            raise ConfigurationError(f"the configuration is not applied: {error}") from None
        while (state := serve.status().applications[APPLICATION]).status == DEPLOYING:
            time.sleep(POLL_S)
        if state.status != RUNNING:
            raise ConfigurationError(f"the configuration is not applied: {state.message}")
