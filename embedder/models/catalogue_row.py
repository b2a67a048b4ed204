"""The record that the catalogue holds of one model."""

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
    """One model: its repository, its pinned revision and its published properties.

    ``revision`` is the commit that is loaded. ``sha256`` is the digest of ``model.safetensors``;
    without it the commit alone pins the weights. ``prompts`` are pairs of name and text, for models
    whose own files carry none. ``matryoshka`` lists the widths that the model was trained to be cut
    to. ``package`` is a Python package that carries the model in its folder ``model``, for machines
    that reach a package index but not the hub.
    """

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

    @property
    def alias(self) -> str:
        """Return the repository's name without its owner."""
        return self.repository.rpartition("/")[2]
