"""The readiness of a service on this machine, as its route ``/readyz`` reports it."""

from __future__ import annotations

import json
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit


def waiting_for(url: str) -> str | None:
    """Return a sentence about the stages that a starting service waits for; None: it is ready."""
    status, capabilities, unready = _readyz(url)
    if status == 200:
        # Do not wait for a failed index: only the operator can repair it.
        return "waiting for the index" if capabilities.get("index") == "waiting" else None
    if status == 0:
        return "no answer yet"
    return f"waiting for {', '.join(unready)}" if unready else "starting the ingress"


def not_ready(url: str) -> str | None:
    """Return the stages of a running service that are not ready, also optional ones, or None."""
    status, _, unready = _readyz(url)
    if status != 200:
        return waiting_for(url)
    return "; ".join(f"{name}: {state}" for name, state in unready.items()) or None


def _readyz(url: str) -> tuple[int, dict[str, str], dict[str, str]]:
    """Return the status, the capabilities, and the stages that are not ready.

    The status is 0 without an answer, and for an answer of 200 that is not from the ingress.
    """
    address = urlsplit(url)
    try:
        with closing(HTTPConnection(address.netloc, timeout=10)) as connection:
            connection.request("GET", f"{address.path}/readyz")
            response = connection.getresponse()
            status, body = response.status, response.read()
    except (OSError, HTTPException):
        return 0, {}, {}
    try:
        answer = json.loads(body)
        stages = dict(answer["stages"])
        unready = {name: state for name, state in stages.items() if state != "ready"}
        return status, dict(answer["capabilities"]), unready
    except (ValueError, KeyError, TypeError):
        return 0 if status == 200 else status, {}, {}
