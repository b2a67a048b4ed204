"""The deadline and the key of a request."""

from __future__ import annotations

import pytest

from deployments.ingress.errors.http_errors import MissingScope
from deployments.ingress.middleware.context import RequestContext, request_timeout_s
from deployments.settings.access import ApiKey, Scope
from embedder.core.deadline import NEVER
from embedder.core.errors import InvalidInput


@pytest.mark.parametrize(
    ("given", "expected"), [(b"2.5", 2.5), (b"60", 60.0), (b"61", 60.0), (b"inf", 60.0)]
)
def test_a_timeout_header_can_only_shorten_the_limit(given: bytes, expected: float) -> None:
    assert request_timeout_s(given, 60.0) == expected


@pytest.mark.parametrize("given", [b"", b"0", b"-1", b"nan", b"soon", b"\xff", b"1 s"])
def test_an_invalid_timeout_is_refused_by_the_name_of_its_header(given: bytes) -> None:
    with pytest.raises(InvalidInput, match="'x-request-timeout' must be a number"):
        request_timeout_s(given, 60.0)


def test_a_key_allows_exactly_its_scopes() -> None:
    key = ApiKey(name="admin", sha256="0" * 64, scopes=(Scope.READ, Scope.ADMIN))
    context = RequestContext(NEVER, key)

    context.require(Scope.READ)
    context.require(Scope.ADMIN)
    with pytest.raises(MissingScope, match="'write'"):
        context.require(Scope.WRITE)


def test_without_keys_every_scope_is_allowed() -> None:
    for scope in Scope:
        RequestContext(NEVER).require(scope)
