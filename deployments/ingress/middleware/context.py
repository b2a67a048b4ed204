"""One request as the door sees it: its key, and how long it may take.

Made by `gate` before anything else, and found by routes in the request's state.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from deployments.ingress.errors.http_errors import MissingScope
from deployments.ingress.errors.responses import ErrorShape
from deployments.ingress.middleware.keys import Headers
from deployments.settings.access import ApiKey, Scope
from embedder.core.errors import InvalidInput


@dataclass(slots=True)
class RequestContext:
    """What is known of a request before its body is read; times are on ``time.monotonic``.

    ``key`` is None where the service has no keys, or the path is open; ``accept`` is the header.
    ``body_bytes`` is the size of the body once it has been read.
    """

    deadline: float
    key: ApiKey | None = None
    accept: str = ""
    body_bytes: int = 0
    prefix: str = ""
    error_shape: ErrorShape = ErrorShape.OPENAI
    began: float = field(default_factory=time.monotonic)

    def remaining_s(self) -> float:
        """Return the seconds that are left for an answer."""
        return max(0.0, self.deadline - time.monotonic())

    def require(self, scope: Scope) -> None:
        """Refuse a key that is for other calls; without keys everybody may do everything.

        Raises:
            MissingScope: as said.
        """
        if self.key is not None and scope not in self.key.scopes:
            raise MissingScope(scope.value)


def request_timeout_s(headers: Headers, limit_s: float) -> float:
    """Return how many seconds a request may take: ``x-request-timeout``, within the server's limit.

    Raises:
        InvalidInput: the header is no number above 0.
    """
    given = dict(headers).get(b"x-request-timeout")
    if given is None:
        return limit_s
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise InvalidInput("x-request-timeout", "must be a number of seconds above 0")
    return min(seconds, limit_s)
