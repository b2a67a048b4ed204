"""The layers after the transformer: pooling and the Dense modules of a model's layout, in float32.

Normalization follows in `embedder.core.vectors`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from embedder.backends.checkpoint import Linear, read_tensors, tensor_bytes
from embedder.backends.pooling import POOLS
from embedder.core.errors import UnsupportedModel
from embedder.core.outputs import OutputKind
from embedder.models.layout import Layout
from embedder.models.weights import WEIGHTS

_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    kind.__name__.lower(): kind()
    for kind in (nn.Identity, nn.Tanh, nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid)
}


class Head:
    """Maps hidden states to vectors of ``width`` components; its weights take ``memory_bytes``."""

    kind = OutputKind.DENSE

    def __init__(self, layout: Layout, *, hidden_width: int, device: torch.device) -> None:
        self._pools = [POOLS[name] for name in layout.pooling]
        self._layers = [_load(dense.folder, device) for dense in layout.dense]
        self._activations = [_ACTIVATIONS[dense.activation] for dense in layout.dense]
        self.width = hidden_width * len(self._pools)
        for dense, layer in zip(layout.dense, self._layers, strict=True):
            rows, columns = layer.weight.shape
            if columns != self.width:
                raise UnsupportedModel(
                    f"{dense.folder} takes vectors of {columns} components; the layer before it "
                    f"has {self.width}"
                )
            self.width = rows
        self.memory_bytes = tensor_bytes(self._layers)

    def __call__(self, hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return float32[n, width] of hidden states float[total, hidden_width].

        ``lengths`` is int64[n]; both are on the head's device.
        """
        pooled = [pool(hidden, lengths) for pool in self._pools]
        rows = pooled[0] if len(pooled) == 1 else torch.cat(pooled, dim=1)
        for layer, activation in zip(self._layers, self._activations, strict=True):
            rows = activation(layer(rows))
        return rows


def _load(folder: Path, device: torch.device) -> Linear:
    path = folder / WEIGHTS
    if not path.is_file():
        raise UnsupportedModel(f"{folder} has no {WEIGHTS}; no other format is read")
    tensors = {name: tensor.to(device).float() for name, tensor in read_tensors([path]).items()}
    if (weight := tensors.get("linear.weight")) is None:
        raise UnsupportedModel(f"{path} has no tensor 'linear.weight'")
    return Linear(weight, tensors.get("linear.bias", torch.zeros(len(weight), device=device)))
