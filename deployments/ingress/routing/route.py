"""A route as it is declared beside its function, and the routes of one family."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter
from starlette.responses import Response
from starlette.routing import compile_path

from deployments.ingress.errors.responses import ErrorShape
from deployments.ingress.routing.parameters import Endpoint, Parameters
from deployments.settings.access import Scope

EndpointT = TypeVar("EndpointT", bound=Endpoint)


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One method and path, and the function that answers it.

    ``scope`` is the scope that a key needs; None: no key is needed. ``response`` is the type of the
    JSON in an answer of ``status``; None: it has none. ``other_responses`` are types by status.
    ``tag`` is the group in the OpenAPI description; None: the route is not described.
    """

    method: str
    path: str
    endpoint: Endpoint
    scope: Scope | None
    response: Any
    status: int
    other_responses: Mapping[int, Any]
    tag: str | None
    errors: ErrorShape
    parameters: Parameters
    returned: TypeAdapter[Any] | None
    """Writes what the function returns; None: the function returns a `Response`."""
    pattern: re.Pattern[str] = field(init=False)
    path_format: str = field(init=False)
    label: tuple[str, str] = field(init=False)
    """The method and the path as metrics have them."""

    def __post_init__(self) -> None:
        pattern, path_format, _ = compile_path(self.path)
        object.__setattr__(self, "pattern", pattern)
        object.__setattr__(self, "path_format", path_format)
        object.__setattr__(self, "label", (self.method, path_format))

    @property
    def has_path_parameters(self) -> bool:
        """Return whether the path stands for many."""
        return self.pattern.groups > 0


class Routes(list[Route]):
    """The routes of one family; of two that match a request, the first one answers."""

    def __init__(self, tag: str | None, errors: ErrorShape = ErrorShape.OPENAI) -> None:
        super().__init__()
        self._tag = tag
        self._errors = errors

    def add(
        self,
        method: str,
        *paths: str,
        scope: Scope | None,
        response: Any = None,
        status: int = 200,
        other_responses: Mapping[int, Any] | None = None,
    ) -> Callable[[EndpointT], EndpointT]:
        """Let the decorated function answer a method of these paths.

        Where the function returns a `Response`, ``response`` is the type of its JSON for the
        description. Any other function returns a value of the type of its JSON.
        """

        def declare(endpoint: EndpointT) -> EndpointT:
            kind = get_type_hints(endpoint)["return"]
            written = issubclass(kind, Response) if isinstance(kind, type) else False
            for path in paths:
                self.append(
                    Route(
                        method=method,
                        path=path,
                        endpoint=endpoint,
                        scope=scope,
                        response=response if written else kind,
                        status=status,
                        other_responses=other_responses or {},
                        tag=self._tag,
                        errors=self._errors,
                        parameters=Parameters.of(endpoint),
                        returned=None if written else TypeAdapter(kind),
                    )
                )
            return endpoint

        return declare
