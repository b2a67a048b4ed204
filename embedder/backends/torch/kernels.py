"""Which of torch's kernels for GPUs a packed forward pass may use beside the plain ones.

What they compute is near what the plain ones compute, not the same; a probe decides. Knows
what each one accepts, and nothing of layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from embedder.backends.checkpoint import Linear
from embedder.backends.torch.architectures import EncoderShape
from embedder.backends.torch.attention import VarlenKernel

NARROW = (torch.bfloat16, torch.float16)
"""The number formats for which there are such kernels."""

_WIDEST_HEAD = 256
_HEAD_STEP = 8
"""The components of a head that FlashAttention computes: multiples of the one up to the other."""

_AMPERE = (8, 0)
"""The first generation of GPUs that FlashAttention runs on."""


@dataclass(frozen=True, slots=True)
class Kernels:
    """What takes the place of plain kernels.

    ``attend`` mixes a whole batch in one call; None leaves it to blocks. ``activates`` lets the
    matrix product apply the activation, which saves reading and writing its rows once more.
    """

    attend: VarlenKernel | None = None
    activates: bool = False


PLAIN = Kernels()
"""What every device and number format has."""


@dataclass(frozen=True, slots=True)
class FusedGeluLinear(Linear):
    """A `Linear` whose matrix product applies GELU before it is rounded.

    It is the approximation by tanh, whatever the model asks for: they differ by 0.0005 at most,
    which is a rounding of a narrow number format.
    """

    def gelu(self, rows: torch.Tensor, approximate: str) -> torch.Tensor:
        """Return what GELU makes of [n, out]; ``approximate`` is not looked at."""
        activated: torch.Tensor = torch._addmm_activation(
            self.bias, rows, self.weight.t(), use_gelu=True
        )
        return activated


def fast_kernels(shape: EncoderShape, dtype: torch.dtype, device: torch.device) -> Kernels:
    """Return the fastest kernels that a model's shape, number format and device have."""
    if device.type != "cuda" or dtype not in NARROW:
        return PLAIN
    return Kernels(_attend(shape, device), hasattr(torch, "_addmm_activation"))


def _attend(shape: EncoderShape, device: torch.device) -> VarlenKernel | None:
    if shape.names.distances is not None:  # the kernel adds nothing to its scores
        return None
    if shape.head_width % _HEAD_STEP or shape.head_width > _WIDEST_HEAD:
        return None
    if torch.cuda.get_device_capability(device) < _AMPERE:
        return None
    return _varlen_attention()


def _varlen_attention() -> VarlenKernel | None:
    """Return torch's attention over inputs of any lengths, which releases below 2.10 have not."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None

    def attend(  # noqa: PLR0913 - torch's signature
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        cu_seq_q: torch.Tensor,
        cu_seq_k: torch.Tensor,
        max_q: int,
        max_k: int,
    ) -> torch.Tensor:
        mixed = varlen_attn(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k)
        assert isinstance(mixed, torch.Tensor)  # a pair only where one is asked for
        return mixed

    return attend
