"""Runs an action of ``embedder index`` on the collections of the running service."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from deployments.commands.connecting import connected

if TYPE_CHECKING:
    from deployments.operations.collections import CollectionOperations

T = TypeVar("T")


def operate(
    options: argparse.Namespace, action: Callable[[CollectionOperations], Coroutine[Any, Any, T]]
) -> T:
    """Connect to the service that the options choose, and return the result of the action."""
    with connected(options) as service:
        from deployments.operations.collections import CollectionOperations

        return asyncio.run(action(CollectionOperations(service)))
