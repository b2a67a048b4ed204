"""The part of the error tree that only a door over HTTP has: keys, and bodies as they come in.

    EmbedderError
    ├── InvalidJson                 the body is no JSON at all
    ├── AccessDenied                who calls may not do this
    │   ├── UnknownKey
    │   └── MissingScope
    ├── InvalidInput
    │   ├── EmptyInput
    │   └── LimitExceeded
    │       └── BodyTooLarge
    └── Unavailable
        └── BodyTooSlow

The rest of the tree is in `embedder.core.errors`. These are raised and answered in one process.
"""

from __future__ import annotations

from embedder.core.errors import EmbedderError, InvalidInput, LimitExceeded, Unavailable


class InvalidJson(EmbedderError):
    """The body is not JSON in UTF-8."""

    code = "invalid_json"

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"the body {self.problem}"


class AccessDenied(EmbedderError):
    """Whoever calls may not do this, whatever the call holds."""

    code = "access_denied"


class UnknownKey(AccessDenied):
    """The call brings no key, or none that is known; which of the two is not told."""

    code = "invalid_api_key"

    def __str__(self) -> str:
        return (
            "a valid API key is needed, as 'Authorization: Bearer KEY', 'x-api-key: KEY' "
            "or 'api-key: KEY'"
        )


class MissingScope(AccessDenied):
    """The key is good, for other calls than this one."""

    code = "missing_scope"

    def __init__(self, scope: str) -> None:
        super().__init__(scope)
        self.scope = scope

    def __str__(self) -> str:
        return f"this needs a key with the scope '{self.scope}'"


class EmptyInput(InvalidInput):
    """A list that must hold something is empty."""

    code = "empty_input"

    def __init__(self, field: str) -> None:
        # Not InvalidInput's constructor: `renamed` calls this one with exactly these arguments.
        Exception.__init__(self, field)
        self.field = field
        self.problem = "must not be empty"


class BodyTooLarge(LimitExceeded):
    """The request body has more bytes than the service reads."""

    code = "body_too_large"


class BodyTooSlow(Unavailable):
    """The body came so slowly that it was not waited for."""

    code = "body_too_slow"

    def __init__(self, size: int, seconds: float, least: int) -> None:
        super().__init__(size, seconds, least)
        self.size = size
        self.seconds = seconds
        self.least = least

    def __str__(self) -> str:
        return (
            f"{self.size} bytes of the body came in {self.seconds:.1f} s; the least is "
            f"{self.least} bytes a second"
        )
