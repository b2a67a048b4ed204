"""Embed texts: `EmbeddingGenerator` in one process; the `deployments` package over a cluster."""

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
