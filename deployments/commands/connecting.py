"""The connection of a command to the running service that its arguments choose.

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

if TYPE_CHECKING:
    from deployments.operations.collections import CollectionOperations
    from deployments.operations.running_service import RunningService

T = TypeVar("T")


@contextmanager
def connected(options: argparse.Namespace) -> Iterator[RunningService]:
    """Connect to the service that the options of `add_service` choose.

    Raises:
        ConfigurationError: as `running_service`.
    """
    show_token(os.environ)
    # Otherwise a thread of Serve that still runs after `ray.shutdown` would start another Ray.
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
    from deployments.operations.running_service import running_service

    with running_service(options.port, options.data_directory) as service:
        yield service


def operate(
    options: argparse.Namespace, action: Callable[[CollectionOperations], Coroutine[Any, Any, T]]
) -> T:
    """Return the result of an action on the collections of the service that the options choose."""
    with connected(options) as service:
        from deployments.operations.collections import CollectionOperations

        return asyncio.run(action(CollectionOperations(service)))
