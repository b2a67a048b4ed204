"""Embed texts: `EmbeddingGenerator` in one process; the `deployments` package over a cluster.

Names are looked up when they are asked for, so a part of the library needs what it imports itself
and no more: the forward pass runs where the service's packages are not installed.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from embedder.config import EmbedderSettings
    from embedder.errors import EmbedderError
    from embedder.generator import EmbeddingGenerator
    from embedder.request import EmbedOptions
    from embedder.types import InputType, Priority, Truncate

__all__ = [
    "EmbedOptions",
    "EmbedderError",
    "EmbedderSettings",
    "EmbeddingGenerator",
    "InputType",
    "Priority",
    "Truncate",
]

_HOMES = {
    "EmbedOptions": "embedder.request",
    "EmbedderError": "embedder.errors",
    "EmbedderSettings": "embedder.config",
    "EmbeddingGenerator": "embedder.generator",
    "InputType": "embedder.types",
    "Priority": "embedder.types",
    "Truncate": "embedder.types",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
