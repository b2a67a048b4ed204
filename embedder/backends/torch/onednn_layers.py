"""All layers of an encoder in bfloat16 on a CPU, in one call of TorchScript.

Python would make some 30 calls a layer. They take 5 % of the time of one thread, and threads that
share an interpreter wait for each other in every call.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import NamedTuple, TypeVar

import torch

from embedder.backends.checkpoint import Checkpoint, tensor_bytes
from embedder.backends.grouping import Group
from embedder.backends.torch.architectures import EncoderShape
from embedder.backends.torch.attention import Bias
from embedder.backends.torch.kernels import OneDnnLinear
from embedder.backends.torch.onednn_attention import Block, attend, prepare

Function = TypeVar("Function", bound=Callable[..., object])


class LayerWeights(NamedTuple):
    """The weights of one layer; those of linear maps are in oneDNN's internal order."""

    qkv: torch.Tensor
    qkv_bias: torch.Tensor
    attention_output: torch.Tensor
    attention_output_bias: torch.Tensor
    attention_norm: torch.Tensor
    attention_norm_bias: torch.Tensor
    up: torch.Tensor
    up_bias: torch.Tensor
    down: torch.Tensor
    down_bias: torch.Tensor
    output_norm: torch.Tensor
    output_norm_bias: torch.Tensor

    @classmethod
    def of(cls, shape: EncoderShape, weights: Checkpoint) -> "LayerWeights":
        """Read the tensors of a layer and reorder its matrices."""
        names = shape.names
        attention_norm = weights.norm(names.attention_norm, shape.norm_epsilon)
        output_norm = weights.norm(names.output_norm, shape.norm_epsilon)
        maps = ((names.query, names.key, names.value), (names.attention_output,))
        qkv, attention_output = (OneDnnLinear.of(weights.linear(*parts)) for parts in maps)
        up, down = (OneDnnLinear.of(weights.linear(part)) for part in (names.up, names.down))
        return cls(
            *(qkv.weight, qkv.bias, attention_output.weight, attention_output.bias),
            *(attention_norm.weight, attention_norm.bias, up.weight, up.bias),
            *(down.weight, down.bias, output_norm.weight, output_norm.bias),
        )


def compute_layers(
    rows: torch.Tensor,
    layers: list[LayerWeights],
    blocks: list[Block],
    heads: int,
    epsilon: float,
    gelu: str,
) -> torch.Tensor:
    """Return bfloat16[total, width] after all layers; ``gelu`` is torch's ``approximate``."""
    # Rows in no block are padding, which no other row reads.
    attended = torch.zeros_like(rows)
    width = [rows.size(1)]
    for layer in layers:
        qkv = torch.ops.mkldnn._linear_pointwise(rows, layer.qkv, layer.qkv_bias, "none", [], "")
        for block in blocks:
            attend(block, qkv, attended, heads)
        added = torch.ops.mkldnn._linear_pointwise(
            attended, rows, layer.attention_output, layer.attention_output_bias, "add"
        )
        rows = torch.layer_norm(
            added, width, layer.attention_norm, layer.attention_norm_bias, epsilon
        )
        up = torch.ops.mkldnn._linear_pointwise(rows, layer.up, layer.up_bias, "gelu", [], gelu)
        added = torch.ops.mkldnn._linear_pointwise(up, rows, layer.down, layer.down_bias, "add")
        rows = torch.layer_norm(added, width, layer.output_norm, layer.output_norm_bias, epsilon)
    return rows


class OneDnnLayers:
    """The layers of an encoder whose rows are bfloat16 on a CPU."""

    def __init__(self, shape: EncoderShape, layers: Iterable[Checkpoint], bias: Bias) -> None:
        """``layers`` has the tensors of each layer."""
        self.weights = [LayerWeights.of(shape, layer) for layer in layers]
        self.memory_bytes = tensor_bytes(self.weights)
        self._shape, self._bias = shape, bias
        self._compute = _compiled_layers()

    def __call__(self, rows: torch.Tensor, groups: Sequence[Group]) -> torch.Tensor:
        """Return [total, width] after all layers; the inputs are sorted by length."""
        shape = self._shape
        blocks = [prepare(group, shape, self._bias, rows.dtype) for group in groups]
        return self._compute(
            rows, self.weights, blocks, shape.heads, shape.norm_epsilon, shape.gelu
        )


def script(function: Function) -> Function:
    """Return a function compiled by TorchScript, or itself where torch cannot compile it."""
    try:
        with warnings.catch_warnings():
            # torch calls TorchScript deprecated; what replaces it needs a compiler at run time.
            warnings.simplefilter("ignore", DeprecationWarning)
            compiled: Function = torch.jit.script(function)
    except Exception:  # noqa: BLE001 - torch states no class
        return function
    return compiled


@cache
def _compiled_layers() -> Callable[..., torch.Tensor]:
    return script(compute_layers)
