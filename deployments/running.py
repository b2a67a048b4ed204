"""The service that runs on this cluster, by its handles: for an operator's commands.

Connects to Ray as any program on the cluster does, with its token. Knows nothing of command lines.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray import serve
from ray.serve.exceptions import RayServeException

from deployments.remote import Handle
from embedder.errors import ConfigurationError

APPLICATION = "embedder"
NAMESPACE = "serve"


@contextmanager
def running_service() -> Iterator[RunningService]:
    """Connect to the service of this cluster, and let go of it at the end.

    Raises:
        ConfigurationError: no cluster runs here, or it serves no such application.
    """
    try:
        ray.init(
            address="auto", namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR
        )
    except (ConnectionError, RuntimeError) as error:
        raise ConfigurationError(
            f"no service runs on this machine, or Ray does not let us in ({error}); start it with "
            f"'embedder serve', as the same user"
        ) from None
    try:
        applications = serve.status().applications
        if APPLICATION not in applications:
            raise ConfigurationError(f"Ray runs here, but serves no application {APPLICATION!r}")
        yield RunningService(sorted(applications[APPLICATION].deployments))
    except RayServeException as error:
        raise ConfigurationError(f"Ray runs here, but nothing is served: {error}") from None
    finally:
        ray.shutdown()


class RunningService:
    """The deployments of the running application, by name."""

    def __init__(self, names: list[str]) -> None:
        self._names = names

    @property
    def ingress(self) -> Handle:
        """Return the handle that programs embed by."""
        return serve.get_app_handle(APPLICATION)

    def shards(self, deployment: str) -> dict[str, Handle]:
        """Return the handles of ``deployment``-0, -1 and so on, by their names, in that order."""
        prefix = f"{deployment}-"
        found = [name for name in self._names if name.startswith(prefix)]
        return {
            name: serve.get_deployment_handle(name, APPLICATION)
            for name in sorted(found, key=lambda name: int(name.removeprefix(prefix)))
        }
