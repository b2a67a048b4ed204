"""Embed texts: `EmbeddingGenerator` in one process; the `deployments` package on a cluster.

Public names are imported on first use, so that a module of the library needs only its own imports:
the forward pass runs where the packages of the service are not installed.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from embedder.core.errors import EmbedderError
    from embedder.core.pairs import Pair
    from embedder.core.request import EmbedOptions
    from embedder.core.types import InputType, Priority, Truncate
    from embedder.generator import EmbeddingGenerator
    from embedder.settings.model import EmbedderSettings

__all__ = [
    "EmbedOptions",
    "EmbedderError",
    "EmbedderSettings",
    "EmbeddingGenerator",
    "InputType",
    "Pair",
    "Priority",
    "Truncate",
]

_HOMES = {
    "EmbedOptions": "embedder.core.request",
    "EmbedderError": "embedder.core.errors",
    "EmbedderSettings": "embedder.settings.model",
    "EmbeddingGenerator": "embedder.generator",
    "InputType": "embedder.core.types",
    "Pair": "embedder.core.pairs",
    "Priority": "embedder.core.types",
    "Truncate": "embedder.core.types",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
