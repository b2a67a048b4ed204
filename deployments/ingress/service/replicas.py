"""The deployments replica by replica: all of them are asked at once, past the queues.

For operators, who want what they can get while something is broken. Knows nothing of HTTP, nor of
what the replicas say.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployments.rpc.handle_client import Handle, HandleClient
from embedder.core.errors import EmbedderError, Unavailable

logger = logging.getLogger("ray.serve")

QUERY_TIMEOUT_S = 2.0
"""How long replicas may take to say how they are."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why there is no answer, in words that anybody may read."""

    problem: str


class Replicas:
    """The deployments of the application by their names."""

    def __init__(self, handles: Mapping[str, Handle]) -> None:
        self._stages = {name: HandleClient(name, handle) for name, handle in handles.items()}

    async def query(self, stage: str, method: str) -> list[Any]:
        """Return what every replica of a stage answers, or the `Problem` where one does not.

        Where one of them has not answered after `QUERY_TIMEOUT_S`, that is the whole answer.
        """
        deadline = time.monotonic() + QUERY_TIMEOUT_S
        try:
            answers = await self._stages[stage].broadcast(method, deadline=deadline)
        except EmbedderError as error:
            answers = [error]
        return [problem(stage, one) if isinstance(one, EmbedderError) else one for one in answers]

    async def broadcast(
        self, stage: str, method: str, deadline: float, *arguments: Any
    ) -> list[Any]:
        """Return what every replica of a stage answers.

        Raises:
            EmbedderError: one of them does not.
        """
        answers = await self._stages[stage].broadcast(method, *arguments, deadline=deadline)
        for one in answers:
            if isinstance(one, EmbedderError):
                raise one
        return answers


def problem(stage: str, error: EmbedderError) -> Problem:
    """Return what is told of a stage that has answered with an error, and log the error."""
    logger.warning("%s does not say how it is: %r", stage, error)
    if isinstance(error, Unavailable):
        return Problem(str(error))
    return Problem("it failed to answer; the log says why")
