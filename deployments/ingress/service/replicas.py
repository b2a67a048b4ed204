"""The deployments of the application, and calls to all replicas of one, for operators."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployments.rpc.handle_client import Handle, HandleClient
from embedder.core.deadline import Deadline
from embedder.core.errors import EmbedderError, Unavailable

logger = logging.getLogger("ray.serve")

QUERY_TIMEOUT_S = 2.0
"""Seconds that replicas may take to answer a query of an operator."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a replica has not answered; the text is for clients."""

    problem: str


@dataclass(frozen=True, slots=True)
class Handles:
    """One handle for each deployment; ``ingress`` reaches all replicas of the ingress itself.

    ``encoders`` holds the pools, ``caches`` and ``indexes`` hold the shards by deployment name, in
    the configured order.
    """

    tokenizer: Handle
    encoders: Mapping[str, Handle]
    caches: Mapping[str, Handle]
    indexes: Mapping[str, Handle]
    ingress: Handle

    def clients(self) -> Mapping[str, HandleClient]:
        """Return a client of each deployment by its name."""
        handles = {
            "Ingress": self.ingress,
            "Tokenizer": self.tokenizer,
            **self.encoders,
            **self.caches,
            **self.indexes,
        }
        return {name: HandleClient(name, handle) for name, handle in handles.items()}


class Replicas:
    """The replicas of each deployment by its name."""

    def __init__(self, handles: Handles) -> None:
        self._stages = handles.clients()

    async def query(self, stage: str, method: str) -> list[Any]:
        """Return the answer of every replica of a stage, or a `Problem` for a replica that fails.

        If any replica has not answered after `QUERY_TIMEOUT_S`, return one `Problem` alone.
        """
        deadline = Deadline.after(QUERY_TIMEOUT_S)
        try:
            answers = await self._stages[stage].broadcast(method, deadline=deadline)
        except EmbedderError as error:
            answers = [error]
        return [problem(stage, one) if isinstance(one, EmbedderError) else one for one in answers]

    async def broadcast(
        self, stage: str, method: str, deadline: Deadline, *arguments: Any
    ) -> list[Any]:
        """Return the answer of every replica of a stage.

        Raises:
            EmbedderError: a replica fails.
        """
        answers = await self._stages[stage].broadcast(method, *arguments, deadline=deadline)
        for one in answers:
            if isinstance(one, EmbedderError):
                raise one
        return answers


def problem(stage: str, error: EmbedderError) -> Problem:
    """Log the error of a stage, and return it as a `Problem`."""
    logger.warning("%s does not answer a query: %r", stage, error)
    if isinstance(error, Unavailable):
        return Problem(str(error))
    return Problem("it failed to answer; the log says why")
