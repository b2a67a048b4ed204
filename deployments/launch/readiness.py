"""The readiness of a service on this machine, as its route ``/readyz`` reports it."""

from __future__ import annotations

import json
import ssl
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

TIMEOUT_S = 10.0


def waiting_for(url: str) -> str | None:
    """Return a sentence about the stages that a starting service waits for; None: it is ready."""
    problem, capabilities, _ = _readyz(url)
    # Do not wait for a failed index: only the operator can repair it.
    waits = capabilities.get("index") == "waiting"
    return problem or ("waiting for the index" if waits else None)


def not_ready(url: str) -> str | None:
    """Return the stages of a running service that are not ready, also optional ones, or None."""
    return readiness(url)[1]


def readiness(url: str) -> tuple[bool, str | None]:
    """Return whether a running service is ready, and what `not_ready` returns."""
    problem, _, unready = _readyz(url)
    stages = "; ".join(f"{name}: {state}" for name, state in unready.items())
    return problem is None, problem or stages or None


def _readyz(url: str) -> tuple[str | None, dict[str, str], dict[str, str]]:
    """Return a sentence unless the service is ready, its capabilities, and its unready stages."""
    address = urlsplit(url)
    try:
        with closing(_connection(address.netloc, address.scheme)) as connection:
            connection.request("GET", f"{address.path}/readyz")
            response = connection.getresponse()
            status, body = response.status, response.read()
    except (OSError, HTTPException):
        return "no answer yet", {}, {}
    try:
        answer = json.loads(body)
        stages, capabilities = dict(answer["stages"]), dict(answer["capabilities"])
    except (ValueError, KeyError, TypeError):  # not from the ingress
        return "no answer yet" if status == 200 else "starting the ingress", {}, {}
    unready = {name: state for name, state in stages.items() if state != "ready"}
    if status == 200:
        return None, capabilities, unready
    return f"waiting for {', '.join(unready)}" if unready else "starting the ingress", {}, {}


def _connection(place: str, scheme: str) -> HTTPConnection:
    """Return a connection to this machine; its certificate may be for another name.

    The probe sends nothing secret.
    """
    if scheme == "http":
        return HTTPConnection(place, timeout=TIMEOUT_S)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    return HTTPSConnection(place, timeout=TIMEOUT_S, context=trusting)
