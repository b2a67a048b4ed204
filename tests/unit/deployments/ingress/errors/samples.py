"""Every class of errors, and an error of each."""

from __future__ import annotations

import inspect

import pytest

from deployments.ingress.errors import http_errors
from embedder.core import errors, storage_errors
from embedder.core.errors import EmbedderError

SAMPLES: dict[str, object] = {
    "str": "/srv/secret",
    "int": 7,
    "float": 2.25,
    "tuple[str, ...]": ("/srv/secret",),
    "str | None": None,
}


def _tree(base: type[EmbedderError]) -> list[type[EmbedderError]]:
    return [base, *(found for child in base.__subclasses__() for found in _tree(child))]


OURS = (errors.__name__, http_errors.__name__, storage_errors.__name__)
CLASSES = [found for found in _tree(EmbedderError) if found.__module__ in OURS]
every_class = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)


def sample(kind: type[EmbedderError]) -> EmbedderError:
    """Return an error all of whose texts are a secret path."""
    if kind.__init__ is Exception.__init__:
        return kind(SAMPLES["str"])
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    return kind(*(SAMPLES[str(parameter.annotation)] for parameter in parameters))
