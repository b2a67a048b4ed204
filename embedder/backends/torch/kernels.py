"""The faster kernels of torch that a packed forward pass may use instead of plain ones.

On a CPU, oneDNN computes linear maps in bfloat16: weights are reordered once, and the next step is
fused. torch's own ``linear`` reorders the weights at every call, and an activation or a sum after
it reads and writes all rows once more. The results of kernels for GPUs differ slightly from those
of the plain kernels, so they are selected only if the vectors of a reference batch are accurate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch

from embedder.backends.checkpoint import Linear
from embedder.backends.precision import Agreement
from embedder.backends.torch.architectures import EncoderShape
from embedder.backends.torch.attention import VarlenKernel
from embedder.core.errors import BackendFailure, OutOfMemory

NARROW = (torch.bfloat16, torch.float16)
"""The number formats that have fast kernels."""

_MAX_HEAD_WIDTH = 256
_HEAD_WIDTH_MULTIPLE = 8
"""FlashAttention computes heads of a multiple of 8 up to 256 components."""

_AMPERE = (8, 0)
"""The compute capability of the first GPUs that FlashAttention supports."""

_TYPICAL_ROWS = 256
"""The row count for which weights are reordered; other counts were measured to be as fast."""


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


@dataclass(frozen=True, slots=True)
class KernelSelection:
    """The agreement with float32, why plain kernels were selected, and the fast kernels' error."""

    agreement: Agreement
    why_plain: str | None = None
    error: BackendFailure | None = None


def select_kernels(
    compare: Callable[[], Agreement], use_plain_kernels: Callable[[], None]
) -> KernelSelection:
    """Switch to plain kernels if the fast ones fail or are not close to float32.

    ``compare`` computes the reference batch and compares its results.

    Raises:
        OutOfMemory: the reference batch does not fit, which plain kernels would not change.
        BackendFailure: the plain kernels fail too.
    """
    error: BackendFailure | None = None
    try:
        agreement = compare()
    except OutOfMemory:
        raise
    except BackendFailure as raised:
        # Some releases of torch refuse a shape or take other arguments.
        error, agreement = raised, Agreement(False, "they fail", math.nan)
    if agreement.close:
        return KernelSelection(agreement)
    use_plain_kernels()
    return KernelSelection(compare(), agreement.text, error)


def supports_onednn(dtype: torch.dtype, device: torch.device) -> bool:
    """Tell whether these kernels are available and faster: for bfloat16 on a CPU that has it."""
    return (
        dtype == torch.bfloat16
        and device.type == "cpu"
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )


@dataclass(frozen=True, slots=True)
class OneDnnLinear:
    """A `Linear` whose weight is in oneDNN's internal order."""

    weight: torch.Tensor
    bias: torch.Tensor

    @classmethod
    def of(cls, linear: Linear) -> OneDnnLinear:
        """Reorder the weight of a linear map."""
        weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight, _TYPICAL_ROWS)
        return cls(weight, linear.bias)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Return [n, out] of [n, in]."""
        computed: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            rows, self.weight, self.bias, "none", [], ""
        )
        return computed
