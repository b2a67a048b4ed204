"""The errors that only requests over HTTP raise: keys, and bodies as they arrive.

    EmbedderError
    ├── InvalidJson
    ├── AccessDenied
    │   ├── UnknownKey
    │   ├── MissingScope
    │   └── CollectionDenied
    ├── InvalidInput
    │   ├── EmptyInput
    │   └── LimitExceeded
    │       └── BodyTooLarge
    └── Unavailable
        └── BodyTooSlow

The other errors are in `embedder.core.errors`.
"""

from __future__ import annotations

from embedder.core.errors import EmbedderError, InvalidInput, LimitExceeded, Unavailable

SHOWN_CHARACTERS = 100
"""Characters of a name that a message shows; a collection has fewer, a path may have any number."""


class InvalidJson(EmbedderError):
    """The body is not JSON in UTF-8."""

    code = "invalid_json"

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"the body {self.problem}"


class AccessDenied(EmbedderError):
    """The caller may not do this, whatever the request holds."""

    code = "access_denied"


class UnknownKey(AccessDenied):
    """The request has no key, or an unknown one; the answer does not say which."""

    code = "invalid_api_key"

    def __str__(self) -> str:
        return (
            "a valid API key is needed, as 'Authorization: Bearer KEY', 'x-api-key: KEY' "
            "or 'api-key: KEY'"
        )


class MissingScope(AccessDenied):
    """The key is valid, but lacks the scope for this request."""

    code = "missing_scope"

    def __init__(self, scope: str) -> None:
        super().__init__(scope)
        self.scope = scope

    def __str__(self) -> str:
        return f"this needs a key with the scope '{self.scope}'"


class CollectionDenied(AccessDenied):
    """The key is valid, but does not include this collection; so also where it does not exist."""

    code = "collection_denied"

    def __init__(self, key: str, collection: str) -> None:
        super().__init__(key, collection)
        self.key = key
        self.collection = collection

    def __str__(self) -> str:
        shown = self.collection[:SHOWN_CHARACTERS]
        return f"the key '{self.key}' does not include the collection {shown!r}"


class EmptyInput(InvalidInput):
    """A list that must not be empty is empty."""

    code = "empty_input"

    def __init__(self, field: str) -> None:
        # Not InvalidInput's constructor: `args` must be the arguments of this one, for a copy.
        Exception.__init__(self, field)
        self.field = field
        self.problem = "must not be empty"


class BodyTooLarge(LimitExceeded):
    """The request body has more bytes than the limit."""

    code = "body_too_large"


class BodyTooSlow(Unavailable):
    """The body arrived below the minimum rate."""

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
