"""The running service that a command's arguments choose, and the connection to it.

Ray is imported only here, because the import takes 1 s and wrong arguments are refused before.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from deployments.launch.ray_token import show_token
from deployments.launch.services.choice import Candidate, candidates, choose
from embedder.core.errors import ConfigurationError

if TYPE_CHECKING:
    from deployments.operations.collections import CollectionOperations
    from deployments.operations.running_service import RunningService

T = TypeVar("T")


def chosen(options: argparse.Namespace) -> Candidate:
    """Return the service that the options of `add_service` or the environment choose.

    Raises:
        ConfigurationError: as `choose`.
    """
    return choose(candidates(), os.environ, options.address, options.started_in)


@contextmanager
def connected_to(choice: Candidate) -> Iterator[RunningService]:
    """Connect to a service.

    Raises:
        ConfigurationError: Ray does not run for the service; or as `running_service`.
    """
    show_token(os.environ)
    # Otherwise a thread of Serve that still runs after `ray.shutdown` would start another Ray.
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
    if choice.ray_address is None:
        raise ConfigurationError(f"Ray does not run for {choice.url} ({choice.text})")
    from deployments.operations.running_service import running_service

    with running_service(choice.ray_address) as service:
        yield service


@contextmanager
def connected(options: argparse.Namespace) -> Iterator[RunningService]:
    """Connect to the service that the options of `add_service` choose.

    Raises:
        ConfigurationError: as `choose` and `connected_to`.
    """
    with connected_to(chosen(options)) as service:
        yield service


def operate(
    options: argparse.Namespace, action: Callable[[CollectionOperations], Coroutine[Any, Any, T]]
) -> T:
    """Return the result of an action on the collections of the service that the options choose."""
    with connected(options) as service:
        from deployments.operations.collections import CollectionOperations

        return asyncio.run(action(CollectionOperations(service)))
