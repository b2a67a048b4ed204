"""What the catalogue knows of one model: a frozen record.

Knows nothing of files or of loading.
"""

from __future__ import annotations

from dataclasses import dataclass

from embedder.settings.model import PoolingName


@dataclass(frozen=True, slots=True)
class GoldenVector:
    """A text and the first components of its published vector, at unit length."""

    text: str
    vector: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class CatalogueRow:
    """One model: what it is called, where it is published, and what is known of it.

    ``revision`` is the commit that is loaded. ``sha256`` is of ``model.safetensors``; without one
    the commit alone pins the weights. ``prompts`` are pairs of name and text, for models whose own
    files carry none. ``matryoshka`` holds the widths that the model was trained to be cut to.
    ``package`` is a Python package that carries the model in its folder
    ``model``, for machines that reach a package index but no hub.
    """

    alias: str
    repository: str
    revision: str
    width: int
    max_tokens: int
    pooling: PoolingName
    parameters: int
    licence: str
    sha256: str | None = None
    prompts: tuple[tuple[str, str], ...] = ()
    matryoshka: tuple[int, ...] = ()
    package: str | None = None
    golden: tuple[GoldenVector, ...] = ()
