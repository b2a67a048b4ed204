"""The HTTP status and the type of every error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deployments.ingress.errors import http_errors
from embedder.core import errors, storage_errors


@dataclass(frozen=True, slots=True)
class Status:
    """How one class of errors is answered, in both shapes; ``retry`` says whether to try again."""

    http: int
    kind: str
    tei_http: int
    tei_kind: str
    retry: bool = False


_INVALID = Status(400, "invalid_request_error", 422, "Validation")
_NOT_FOUND = Status(404, "invalid_request_error", 404, "Validation")
_CONFLICT = Status(409, "invalid_request_error", 409, "Validation")
_GONE = Status(503, "server_error", 503, "Unhealthy", retry=True)
_FAILED = Status(500, "server_error", 424, "Backend")

STATUSES: Mapping[type[errors.EmbedderError], Status] = {
    errors.EmbedderError: _FAILED,
    errors.InvalidInput: _INVALID,
    errors.LimitExceeded: _INVALID,
    http_errors.BodyTooLarge: Status(413, "invalid_request_error", 413, "Validation"),
    http_errors.InvalidJson: Status(400, "invalid_request_error", 400, "Validation"),
    http_errors.EmptyInput: Status(400, "invalid_request_error", 400, "Empty"),
    errors.InvalidVector: _INVALID,
    errors.UnsupportedTask: _INVALID,
    errors.NotFound: _NOT_FOUND,
    errors.UnknownModel: _NOT_FOUND,
    errors.UnknownCollection: _NOT_FOUND,
    storage_errors.ModelMismatch: _CONFLICT,
    storage_errors.StaleCollection: _CONFLICT,
    http_errors.AccessDenied: Status(403, "permission_error", 403, "Unauthorized"),
    http_errors.UnknownKey: Status(401, "invalid_request_error", 401, "Unauthorized"),
    http_errors.MissingScope: Status(403, "permission_error", 403, "Unauthorized"),
    http_errors.CollectionDenied: Status(403, "permission_error", 403, "Unauthorized"),
    errors.Unavailable: _GONE,
    errors.Overloaded: Status(429, "rate_limit_error", 429, "Overloaded", retry=True),
    errors.DeadlineExceeded: Status(408, "server_error", 408, "Overloaded", retry=True),
    http_errors.BodyTooSlow: Status(408, "invalid_request_error", 408, "Validation", retry=True),
    errors.StageUnavailable: _GONE,
    storage_errors.StorageFull: _GONE,
    storage_errors.StorageReadOnly: _GONE,
    storage_errors.StorageDamaged: Status(503, "server_error", 503, "Unhealthy"),
    errors.BackendFailure: _FAILED,
    errors.OutOfMemory: _FAILED,
    errors.ConfigurationError: _FAILED,
    errors.ModelNotFound: _FAILED,
    errors.WeightsMismatch: _FAILED,
    errors.ModelDrift: _FAILED,
    errors.UnsafeModel: _FAILED,
    errors.UnsupportedModel: _FAILED,
    errors.MissingExtra: _FAILED,
    errors.ArchiveError: _FAILED,
    errors.PoolFull: _FAILED,
    storage_errors.BadBackup: _FAILED,
    storage_errors.DirectoryInUse: _FAILED,
    storage_errors.NewerFormat: _FAILED,
    storage_errors.NotWritten: _FAILED,
}
"""Every class of the tree by name; a test fails where one is missing."""

HTTP_CODES = {404: "route_not_found", 405: "method_not_allowed", 415: "unsupported_media_type"}
"""Codes of the errors that have a status alone."""
