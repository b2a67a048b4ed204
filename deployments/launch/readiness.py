"""The readiness of a service on this machine, as its route ``/readyz`` reports it."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens addresses without a proxy: the service is on this machine."""


def waiting_for(url: str) -> str | None:
    """Return what a starting service waits for, or None when it is ready."""
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
    try:
        with _DIRECT.open(f"{url}/readyz", timeout=10) as response:
            status, body = 200, response.read()
    except urllib.error.HTTPError as error:
        status, body = error.code, error.read()
    except (OSError, http.client.HTTPException):
        return 0, {}, {}
    try:
        answer = json.loads(body)
        stages = dict(answer["stages"])
        unready = {name: state for name, state in stages.items() if state != "ready"}
        return status, dict(answer["capabilities"]), unready
    except (ValueError, KeyError, TypeError):
        return 0 if status == 200 else status, {}, {}
