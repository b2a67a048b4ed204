"""The check of a RayService against the schema of its resource definition (CRD)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema

Schema = Mapping[str, Any]


def problems(resource: Mapping[str, Any], schema: Schema) -> Iterator[str]:
    """Yield a line for each part of a resource that the schema does not allow.

    Kubernetes ignores a field that the schema does not have; here it is a problem.
    """
    for error in jsonschema.Draft7Validator(_strict(schema)).iter_errors(resource):
        yield f"{error.json_path}: {error.message}"


def _strict(schema: Schema) -> Schema:
    """Return the schema with all other fields refused where it lists the fields of an object."""
    strict = {key: _strict_part(value) for key, value in schema.items()}
    is_open = schema.get("x-kubernetes-preserve-unknown-fields", False)
    if schema.get("properties") and not is_open:
        strict.setdefault("additionalProperties", False)
    return strict


def _strict_part(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _strict(value)
    return [_strict_part(one) for one in value] if isinstance(value, list) else value
