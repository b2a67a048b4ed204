"""The tensors of a model's safetensors files, found by name and converted as they are taken.

Knows which names one and the same tensor has had, and nothing of what is computed with it.
"""

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
"""What every checkpoint has: whatever stands before it was put in front of all names."""

_ENCODER = ("embeddings", "encoder", "transformer")
"""What the names of an encoder's tensors begin with; those of poolers and task heads do not."""

_BUFFERS = ("position_ids", "token_type_ids")
"""Tensors that old files hold although they are no weights."""

_OLD_ENDINGS = {".gamma": ".weight", ".beta": ".bias"}
"""How checkpoints that come from TensorFlow call the parts of a layer norm."""


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear map: ``weight`` is [out, in], ``bias`` [out]."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Return [n, out] of [n, in]."""
        return functional.linear(rows, self.weight, self.bias)

    def gelu(self, rows: torch.Tensor, approximate: str) -> torch.Tensor:
        """Return what GELU makes of [n, out], as torch's ``approximate`` names it."""
        return functional.gelu(self(rows), approximate=approximate)

    def plus(self, rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """Return the sum of [n, out] and ``others`` of the same shape."""
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
    """The tensors under one prefix, each of which leaves as ``dtype`` on ``device``.

    Without ``copies`` it leaves as it lies in its file, which is mapped into memory: for files that
    nobody writes to, and of which all are of ``dtype``. ``taken`` holds the names asked for so far.
    """

    tensors: Mapping[str, torch.Tensor]
    prefix: str
    dtype: torch.dtype
    device: torch.device
    copies: bool = True
    taken: set[str] = field(default_factory=set)

    @classmethod
    def open(cls, paths: Sequence[Path], *, dtype: torch.dtype, device: torch.device) -> Checkpoint:
        """Read one file, or the shards of one model.

        Raises:
            UnsupportedModel: a file is damaged, or none holds an encoder of text.
        """
        tensors = read_tensors(paths)
        anchors = [name for name in tensors if name.endswith(_ANCHOR)]
        if not anchors:
            raise UnsupportedModel(f"{paths[0].parent} has weights without {_ANCHOR!r}")
        prefix = min(anchors, key=len).removesuffix(_ANCHOR)
        return cls(tensors, prefix, dtype, device)

    def under(self, name: str) -> Checkpoint:
        """Return the part of the names that begin with ``name`` and a dot."""
        return replace(self, prefix=f"{self.prefix}{name}.")

    def tensor(self, name: str) -> torch.Tensor:
        """Return a tensor.

        Raises:
            UnsupportedModel: there is none of this name.
        """
        tensor = self._found(name)
        self.taken.add(self.prefix + name)
        if not self.copies:
            return tensor
        # The file is mapped into memory: whoever writes to it later must not change the model.
        return tensor.to(self.device, self.dtype, copy=True)

    def check_rows(self, name: str, key: str, rows: int) -> None:
        """Refuse a table that has another number of rows than ``key`` of ``config.json`` states.

        Raises:
            UnsupportedModel: it has; or there is no such table.
        """
        found = len(self._found(name))
        if found != rows:
            raise UnsupportedModel(
                f"config.json has {key!r} = {rows}; the weights' {self.prefix + name!r} has "
                f"{found} rows"
            )

    def not_taken(self) -> list[str]:
        """Return the names of the encoder's tensors that were never asked for, sorted."""
        parts = tuple(f"{self.prefix}{part}." for part in _ENCODER)
        unused = (name for name in self.tensors.keys() - self.taken if name.startswith(parts))
        return sorted(name for name in unused if not name.endswith(_BUFFERS))

    def linear(self, *names: str) -> Linear:
        """Return one linear map that computes several side by side."""
        weights = [self.tensor(f"{name}.weight") for name in names]
        biases = [self.tensor(f"{name}.bias") for name in names]
        return Linear(_joined(weights), _joined(biases))

    def norm(self, name: str, epsilon: float) -> Norm:
        """Return a layer norm."""
        return Norm(self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias"), epsilon)

    def _found(self, name: str) -> torch.Tensor:
        tensor = self.tensors.get(self.prefix + name)
        if tensor is None:
            raise UnsupportedModel(f"the weights lack the tensor {self.prefix + name!r}")
        return tensor


def read_tensors(paths: Sequence[Path]) -> dict[str, torch.Tensor]:
    """Return the tensors of safetensors files, by the names that they have today.

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
    """Return the error about a model with tensors that only code of its own computes with."""
    return UnsupportedModel(
        f"{folder / 'config.json'} has an 'auto_map', whose code is never run; only that code "
        f"computes with some of the weights: {', '.join(unknown[:3])}"
    )


def tensor_bytes(*parts: object) -> int:
    """Return the bytes of all tensors in the given tensors, lists and dataclasses of such."""
    return sum(tensor.nbytes for part in parts for tensor in _tensors(part))


def _tensors(part: object) -> Iterator[torch.Tensor]:
    if isinstance(part, torch.Tensor):
        yield part
    elif isinstance(part, list):
        for item in part:
            yield from _tensors(item)
    elif is_dataclass(part):
        for one in fields(part):
            yield from _tensors(getattr(part, one.name))


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return one tensor of all rows; one part is itself, wherever it lies."""
    return parts[0] if len(parts) == 1 else torch.cat(tuple(parts))


def _renamed(name: str) -> str:
    for old, usual in _OLD_ENDINGS.items():
        if name.endswith(old):
            return name.removesuffix(old) + usual
    return name
