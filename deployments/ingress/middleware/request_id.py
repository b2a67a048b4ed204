"""The id of a request: that of its client if it may stand in a log, else one that Serve makes."""

from __future__ import annotations

import re

REQUEST_ID = b"x-request-id"

MAX_REQUEST_ID = 128

_ALLOWED = re.compile(rb"[!-~]{1,%d}" % MAX_REQUEST_ID)


def is_request_id(given: bytes) -> bool:
    """Return whether it is printable ASCII without spaces, of at most `MAX_REQUEST_ID` bytes."""
    return _ALLOWED.fullmatch(given) is not None
