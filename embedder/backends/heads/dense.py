"""The layers after the transformer: pooling and the Dense modules of a model's layout, in float32.

Normalization follows in `embedder.core.vectors`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from embedder.backends.checkpoint import Linear, read_tensors, tensor_bytes
from embedder.backends.heads.pooling import POOLS
from embedder.core.errors import UnsupportedModel
from embedder.core.outputs import OutputKind
from embedder.models.heads.dense import Dense
from embedder.models.layout import Layout
from embedder.models.weights import WEIGHTS

Activation = Callable[[torch.Tensor], torch.Tensor]

ACTIVATIONS: dict[str, Activation] = {
    kind.__name__.lower(): kind()
    for kind in (nn.Identity, nn.Tanh, nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid)
}


class DenseHead:
    """Maps hidden states to vectors of ``width`` components; its weights take ``memory_bytes``."""

    kind = OutputKind.DENSE

    def __init__(self, layout: Layout, *, hidden_width: int, device: torch.device) -> None:
        self._pools = [POOLS[name] for name in layout.pooling]
        self._layers = [load_dense(dense, device) for dense in layout.dense]
        self.width = hidden_width * len(self._pools)
        for dense, (layer, _) in zip(layout.dense, self._layers, strict=True):
            rows, columns = layer.weight.shape
            if columns != self.width:
                raise UnsupportedModel(
                    f"{dense.folder} takes vectors of {columns} components; the layer before it "
                    f"has {self.width}"
                )
            self.width = rows
        self.memory_bytes = tensor_bytes([layer for layer, _ in self._layers])

    def __call__(self, hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return float32[n, width] of hidden states float[total, hidden_width].

        ``lengths`` is int64[n]; both are on the head's device.
        """
        pooled = [pool(hidden, lengths) for pool in self._pools]
        return self.project(pooled[0] if len(pooled) == 1 else torch.cat(pooled, dim=1))

    def project(self, rows: torch.Tensor) -> torch.Tensor:
        """Return float32[n, width] of pooled rows, float32[n, poolings × hidden_width]."""
        for layer, activation in self._layers:
            rows = activation(layer(rows))
        return rows


def load_dense(dense: Dense, device: torch.device) -> tuple[Linear, Activation]:
    """Return a Dense module's linear map in float32, and its activation.

    Raises:
        UnsupportedModel: its file is missing or damaged.
    """
    path = dense.folder / WEIGHTS
    if not path.is_file():
        raise UnsupportedModel(f"{dense.folder} has no {WEIGHTS}; no other format is read")
    return load_linear([path], "linear.", device), ACTIVATIONS[dense.activation]


def load_linear(paths: Sequence[Path], prefix: str, device: torch.device) -> Linear:
    """Return the map of the tensors ``weight`` and, if there is one, ``bias``, in float32.

    Raises:
        UnsupportedModel: a file is damaged, or has no such weight.
    """
    tensors = read_tensors(paths)
    weight, bias = tensors.get(f"{prefix}weight"), tensors.get(f"{prefix}bias")
    if weight is None:
        raise UnsupportedModel(f"{paths[0]} has no tensor '{prefix}weight'")
    weight = weight.to(device, torch.float32, copy=True)
    if bias is None:
        bias = torch.zeros(len(weight))
    return Linear(weight, bias.to(device, torch.float32, copy=True))
