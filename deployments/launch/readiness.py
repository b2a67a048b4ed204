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
    try:
        with _DIRECT.open(f"{url}/readyz", timeout=10) as answer:
            # Do not wait for a failed index: only the operator can repair it.
            starting = _field(answer.read(), "capabilities").get("index") == "waiting"
            return "waiting for the index" if starting else None
    except urllib.error.HTTPError as error:
        unready = _unready(error.read())
        return "starting the ingress" if unready is None else f"waiting for {', '.join(unready)}"
    except (OSError, ValueError, http.client.HTTPException):
        return "no answer yet"


def not_ready(url: str) -> str | None:
    """Return the stages of a running service that are not ready, also optional ones, or None."""
    try:
        with _DIRECT.open(f"{url}/readyz", timeout=10) as answer:
            unready = _unready(answer.read()) or {}
            return "; ".join(f"{name}: {state}" for name, state in unready.items()) or None
    except (OSError, http.client.HTTPException):
        return waiting_for(url)


def _unready(body: bytes) -> dict[str, str] | None:
    """Return the stages that are not ready, or None if the answer is not from the ingress."""
    try:
        stages = _field(body, "stages")
    except ValueError:
        return None
    return {name: state for name, state in stages.items() if state != "ready"}


def _field(body: bytes, name: str) -> dict[str, str]:
    """Return a field of the answer of ``/readyz``.

    Raises:
        ValueError: the answer has no such field.
    """
    try:
        return dict(json.loads(body)[name])
    except (KeyError, TypeError) as error:
        raise ValueError(f"no {name}") from error
