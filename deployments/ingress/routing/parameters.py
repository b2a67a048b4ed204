"""How the arguments of an endpoint are found: by the type of each parameter, or by its marker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any, get_args, get_type_hints

from fastapi import params
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import QueryParams

from deployments.ingress.errors.responses import InvalidRequest
from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.service.service import Service

Endpoint = Callable[..., Awaitable[Any]]

INJECTED: tuple[type, ...] = (Service, RequestContext)
"""The types of parameters that a client does not send."""


class CollectionPath(params.Path):  # type: ignore[misc]
    """Marks a parameter in the path that names a collection, which the key must include."""


@dataclass(frozen=True, slots=True)
class QueryParameter:
    """A parameter of an endpoint that stands in the query of the URL."""

    argument: str
    name: str
    default: Any
    adapter: TypeAdapter[Any]
    is_list: bool

    def read(self, query: QueryParams) -> Any:
        """Return the value that a query has for it.

        Raises:
            InvalidRequest: the value is of another type.
        """
        given: Any = query.getlist(self.name) if self.is_list else query.get(self.name)
        if not given and self.name not in query:
            return self.default
        try:
            return self.adapter.validate_python(given)
        except ValidationError as error:
            raise InvalidRequest(error.errors()[0], self.name) from None


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of an endpoint, by where their values come from.

    ``injected`` has the type of each, ``path`` its name in the path. At most one is the body.
    ``collection`` is the name in the path of the parameter that names a collection.
    """

    injected: tuple[tuple[str, type], ...]
    path: tuple[tuple[str, str], ...]
    query: tuple[QueryParameter, ...]
    body: tuple[str, TypeAdapter[Any]] | None
    collection: str | None

    @classmethod
    def of(cls, endpoint: Endpoint) -> Parameters:
        """Sort the parameters of a function.

        `INJECTED` types are injected, ``Path`` and ``Query`` of FastAPI mark values of the URL,
        and the body is what remains.
        """
        injected, path, query, bodies = [], [], [], []
        collection: str | None = None
        for argument, (parameter, hint) in parameters_of(endpoint).items():
            marker = next(
                (one for one in get_args(hint)[1:] if isinstance(one, params.Param)), None
            )
            name = (marker and marker.alias) or argument
            if hint in INJECTED:
                injected.append((argument, hint))
            elif isinstance(marker, params.Path):
                path.append((argument, name))
                collection = name if isinstance(marker, CollectionPath) else collection
            elif isinstance(marker, params.Query):
                query.append(_query_parameter(argument, name, parameter, hint))
            else:
                bodies.append((argument, TypeAdapter(hint)))
        (body,) = bodies or (None,)
        return cls(tuple(injected), tuple(path), tuple(query), body, collection)


def parameters_of(endpoint: Endpoint) -> Mapping[str, tuple[Parameter, Any]]:
    """Return every parameter of a function by its name, with its evaluated annotation."""
    hints = get_type_hints(endpoint, include_extras=True)
    return {name: (one, hints[name]) for name, one in signature(endpoint).parameters.items()}


def _query_parameter(argument: str, name: str, parameter: Parameter, hint: Any) -> QueryParameter:
    kind = get_args(hint)[0]
    is_list = getattr(kind, "__origin__", None) is list
    return QueryParameter(argument, name, parameter.default, TypeAdapter(kind), is_list)
