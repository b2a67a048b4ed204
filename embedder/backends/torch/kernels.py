"""The faster kernels of torch for GPUs that a packed forward pass may use instead of plain ones.

Their results differ slightly from those of the plain kernels; `kernel_selection` compares them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch

from embedder.backends.checkpoint import Linear
from embedder.backends.torch.architectures import EncoderShape
from embedder.backends.torch.attention import VarlenKernel

NARROW = (torch.bfloat16, torch.float16)
"""The number formats that have fast kernels."""

_MAX_HEAD_WIDTH = 256
_HEAD_WIDTH_MULTIPLE = 8
"""FlashAttention computes heads of a multiple of 8 up to 256 components."""

_AMPERE = (8, 0)
"""The compute capability of the first GPUs that FlashAttention supports."""


@dataclass(frozen=True, slots=True)
class Kernels:
    """The kernels of a forward pass.

    ``attention`` computes a whole batch in one call; None selects attention in blocks. With
    ``fused_gelu`` the matrix product applies the activation, which saves a pass over the memory.
    """

    attention: VarlenKernel | None = None
    fused_gelu: bool = False


PLAIN = Kernels()
"""The kernels that every device and number format has."""


@dataclass(frozen=True, slots=True)
class FusedGeluLinear(Linear):
    """A `Linear` whose matrix product applies GELU before it rounds.

    It always uses the tanh approximation. That differs from the exact GELU by at most 0.0005, about
    the rounding of a narrow number format.
    """

    def gelu(self, rows: torch.Tensor, approximate: str) -> torch.Tensor:
        """Return GELU of [n, out]; ``approximate`` is ignored."""
        activated: torch.Tensor = torch._addmm_activation(
            self.bias, rows, self.weight.t(), use_gelu=True
        )
        return activated


def fast_kernels(shape: EncoderShape, dtype: torch.dtype, device: torch.device) -> Kernels:
    """Return the fastest kernels for a model's shape, number format and device."""
    if device.type != "cuda" or dtype not in NARROW:
        return PLAIN
    return Kernels(_attention_kernel(shape, device), hasattr(torch, "_addmm_activation"))


def _attention_kernel(shape: EncoderShape, device: torch.device) -> VarlenKernel | None:
    if shape.names.relative_bias is not None:  # the kernel cannot add a bias to the scores
        return None
    if shape.head_width % _HEAD_WIDTH_MULTIPLE or shape.head_width > _MAX_HEAD_WIDTH:
        return None
    if torch.cuda.get_device_capability(device) < _AMPERE:
        return None
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:  # torch below 2.10
        return None
    # Without return_aux it returns one tensor.
    return cast("VarlenKernel", varlen_attn)
