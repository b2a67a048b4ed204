"""From hidden states to vectors: the pooling and the Dense modules of a model's layout.

Computes in float32 whatever the model computes in. Knows nothing of architectures; normalisation
is left to `embedder.core.vectors`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from safetensors import SafetensorError
from safetensors.torch import load_file

from embedder.backends.checkpoint import tensor_bytes
from embedder.backends.pooling import POOLS
from embedder.core.errors import UnsupportedModel
from embedder.models.layout import Dense, Layout
from embedder.models.weights import WEIGHTS

_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "identity": lambda rows: rows,
    "tanh": torch.tanh,
    "relu": functional.relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "sigmoid": torch.sigmoid,
}


@dataclass(frozen=True, slots=True)
class _Map:
    weight: torch.Tensor
    bias: torch.Tensor | None
    activation: Callable[[torch.Tensor], torch.Tensor]

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        return self.activation(functional.linear(rows, self.weight, self.bias))


class Head:
    """What a model does after its transformer.

    ``width`` is that of the vectors, ``memory_bytes`` what the weights take.
    """

    def __init__(self, layout: Layout, *, hidden_width: int, device: torch.device) -> None:
        self._pools = [POOLS[name] for name in layout.pooling]
        self._maps = [_load(dense, device) for dense in layout.dense]
        self.width = hidden_width * len(self._pools)
        for dense, linear in zip(layout.dense, self._maps, strict=True):
            rows, columns = linear.weight.shape
            if columns != self.width:
                raise UnsupportedModel(
                    f"{dense.folder} maps {columns} components; {self.width} come in"
                )
            self.width = rows
        self.memory_bytes = tensor_bytes(self._maps)

    def __call__(self, hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return float32[n, width] of hidden states float[total, hidden_width].

        ``lengths`` is int64[n]; both are on the head's device.
        """
        pooled = [pool(hidden, lengths) for pool in self._pools]
        rows = pooled[0] if len(pooled) == 1 else torch.cat(pooled, dim=1)
        for linear in self._maps:
            rows = linear(rows)
        return rows


def _load(dense: Dense, device: torch.device) -> _Map:
    path = dense.folder / WEIGHTS
    if not path.is_file():
        raise UnsupportedModel(f"{dense.folder} has no {WEIGHTS}; no other format is read")
    try:
        tensors = load_file(path, device=str(device))
    except (OSError, SafetensorError) as error:
        raise UnsupportedModel(f"{path} cannot be read: {error}") from error
    if "linear.weight" not in tensors:
        raise UnsupportedModel(f"{path} has no tensor 'linear.weight'")
    bias = tensors.get("linear.bias")
    return _Map(
        tensors["linear.weight"].float(),
        None if bias is None else bias.float(),
        _ACTIVATIONS[dense.activation],
    )
