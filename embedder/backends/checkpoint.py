"""The tensors of a model's safetensors files: found by name, and converted when they are used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as functional
from safetensors import SafetensorError
from safetensors.torch import load_file

from embedder.core.errors import UnsupportedModel

_ANCHOR = "embeddings.word_embeddings.weight"
"""A tensor that every checkpoint has. A prefix of its name is a prefix of all names."""

_ENCODER = ("embeddings", "encoder", "transformer")
"""The first parts of the names of an encoder's tensors; poolers and task heads have others."""

_BUFFERS = ("position_ids", "token_type_ids")
"""Tensors in old files that are not weights."""

_OLD_ENDINGS = {".gamma": ".weight", ".beta": ".bias"}
"""The names of layer norm parameters in checkpoints converted from TensorFlow."""


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear map: ``weight`` is [out, in], ``bias`` [out]."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Return [n, out] of [n, in]."""
        return functional.linear(rows, self.weight, self.bias)

    def gelu(self, rows: torch.Tensor, approximate: str) -> torch.Tensor:
        """Return GELU of [n, out]; ``approximate`` is that of torch."""
        return functional.gelu(self(rows), approximate=approximate)

    def add(self, rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """Return the sum of [n, out] and ``others``, which has the same shape."""
        return self(rows).add_(others)


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer norm over the last axis."""

    weight: torch.Tensor
    bias: torch.Tensor
    epsilon: float

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Return rows of the same shape."""
        return functional.layer_norm(
            rows, self.weight.shape, self.weight, self.bias, eps=self.epsilon
        )


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tensors under one name prefix, each returned in ``dtype`` on ``device``.

    With ``copies=False`` tensors are returned in place, in the memory-mapped file: for files that
    are never written to and whose tensors already have ``dtype``. ``used`` holds the names of the
    tensors that were returned.
    """

    tensors: Mapping[str, torch.Tensor]
    prefix: str
    dtype: torch.dtype
    device: torch.device
    copies: bool = True
    used: set[str] = field(default_factory=set)

    @classmethod
    def open(cls, paths: Sequence[Path], *, dtype: torch.dtype, device: torch.device) -> Checkpoint:
        """Open the weights file of a model, or its shards.

        Raises:
            UnsupportedModel: a file is damaged, or no file holds a text encoder.
        """
        tensors = read_tensors(paths)
        anchors = [name for name in tensors if name.endswith(_ANCHOR)]
        if not anchors:
            raise UnsupportedModel(f"{paths[0].parent} has weights without {_ANCHOR!r}")
        prefix = min(anchors, key=len).removesuffix(_ANCHOR)
        return cls(tensors, prefix, dtype, device)

    def child(self, name: str) -> Checkpoint:
        """Return the tensors whose names start with ``name`` and a dot."""
        return replace(self, prefix=f"{self.prefix}{name}.")

    def tensor(self, name: str) -> torch.Tensor:
        """Return a tensor.

        Raises:
            UnsupportedModel: the tensor is missing.
        """
        tensor = self._find(name)
        self.used.add(self.prefix + name)
        if not self.copies:
            return tensor
        # The file is memory-mapped: a later write to it must not change the model.
        return tensor.to(self.device, self.dtype, copy=True)

    def check_rows(self, name: str, key: str, rows: int) -> None:
        """Check that a table has the number of rows that ``key`` of ``config.json`` states.

        Raises:
            UnsupportedModel: the number differs, or the table is missing.
        """
        found = len(self._find(name))
        if found != rows:
            raise UnsupportedModel(
                f"config.json has {key!r} = {rows}; the weights' {self.prefix + name!r} has "
                f"{found} rows"
            )

    def unused_tensors(self) -> list[str]:
        """Return the sorted names of the encoder's tensors that were never used."""
        parts = tuple(f"{self.prefix}{part}." for part in _ENCODER)
        unused = (name for name in self.tensors.keys() - self.used if name.startswith(parts))
        return sorted(name for name in unused if not name.endswith(_BUFFERS))

    def linear(self, *names: str) -> Linear:
        """Return one linear map that concatenates the outputs of all ``names``."""
        weights = [self.tensor(f"{name}.weight") for name in names]
        biases = [self.tensor(f"{name}.bias") for name in names]
        return Linear(_concatenated(weights), _concatenated(biases))

    def norm(self, name: str, epsilon: float) -> Norm:
        """Return a layer norm."""
        return Norm(self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias"), epsilon)

    def _find(self, name: str) -> torch.Tensor:
        tensor = self.tensors.get(self.prefix + name)
        if tensor is None:
            raise UnsupportedModel(f"the weights lack the tensor {self.prefix + name!r}")
        return tensor


def read_tensors(paths: Sequence[Path]) -> dict[str, torch.Tensor]:
    """Return the tensors of safetensors files by their current names.

    Raises:
        UnsupportedModel: a file is damaged.
    """
    tensors: dict[str, torch.Tensor] = {}
    for path in paths:
        try:
            tensors |= {_renamed(name): tensor for name, tensor in load_file(path).items()}
        except (OSError, SafetensorError) as error:
            raise UnsupportedModel(f"{path} cannot be read: {error}") from error
    return tensors


def custom_code_error(folder: Path, unknown: Sequence[str]) -> UnsupportedModel:
    """Return the error for a model with weights that only its own code uses."""
    return UnsupportedModel(
        f"{folder / 'config.json'} has an 'auto_map', whose code is never run; only that code "
        f"uses the weights: {', '.join(unknown[:3])}"
    )


def tensor_bytes(*parts: object) -> int:
    """Return the size in bytes of all tensors in tensors, lists, tuples and dataclasses."""
    return sum(tensor.nbytes for part in parts for tensor in _tensors(part))


def _tensors(part: object) -> Iterator[torch.Tensor]:
    if isinstance(part, torch.Tensor):
        yield part
    elif isinstance(part, list | tuple):
        for item in part:
            yield from _tensors(item)
    elif is_dataclass(part):
        for attribute in fields(part):
            yield from _tensors(getattr(part, attribute.name))


def _concatenated(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return one tensor with all rows; a single part is returned without a copy."""
    return parts[0] if len(parts) == 1 else torch.cat(tuple(parts))


def _renamed(name: str) -> str:
    for old, new in _OLD_ENDINGS.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name
