"""What an error says to an operator: its reason, and whether the service is to blame."""

from __future__ import annotations

from ray.exceptions import RayTaskError
from starlette.exceptions import HTTPException

from deployments.ingress.errors.responses import InvalidRequest, error_code
from deployments.ingress.errors.statuses import STATUSES
from embedder.core.errors import EmbedderError


def reason_of(error: Exception) -> str:
    """Return the code of an error, also of one whose code clients do not see."""
    return error.code if isinstance(error, EmbedderError) else error_code(error)


def is_fault(error: Exception) -> bool:
    """Return whether the service has failed, and not its client."""
    if isinstance(error, EmbedderError):
        return STATUSES[type(error)].http >= 500
    if isinstance(error, HTTPException):
        return error.status_code >= 500
    return not isinstance(error, InvalidRequest)


def detail_of(error: Exception) -> str:
    """Return what a line of the log says of a fault.

    The fields of an error that a client may retry name a stage or a file. Those of others may quote
    the input, so only the class is named.
    """
    is_known = isinstance(error, EmbedderError) and STATUSES[type(error)].http != 500
    return repr(error) if is_known else type(error).__name__


def has_traceback(error: Exception) -> bool:
    """Return whether the traceback of a fault is of use, and in no log yet.

    A replica that raises an error logs its traceback.
    """
    if isinstance(error, EmbedderError) and STATUSES[type(error)].http != 500:
        return False
    return not isinstance(error.__cause__, RayTaskError)
