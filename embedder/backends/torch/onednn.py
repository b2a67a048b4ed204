"""Linear maps in bfloat16 on a CPU by oneDNN: weights are reordered once, the next step is fused.

torch's own ``linear`` reorders the weights at every call, and an activation or a sum after it reads
and writes all rows once more.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from embedder.backends.checkpoint import Linear

_TYPICAL_ROWS = 256
"""The row count for which weights are reordered; other counts were measured to be as fast."""


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
        return self._linear(rows, "none", "")

    def gelu(self, rows: torch.Tensor, approximate: str) -> torch.Tensor:
        """Return GELU of [n, out]; ``approximate`` is that of torch."""
        return self._linear(rows, "gelu", approximate)

    def add(self, rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """Return the sum of [n, out] and ``others`` of the same shape, rounded once."""
        added: torch.Tensor = torch.ops.mkldnn._linear_pointwise.binary(
            rows, others, self.weight, self.bias, "add"
        )
        return added

    def _linear(self, rows: torch.Tensor, activation: str, variant: str) -> torch.Tensor:
        computed: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            rows, self.weight, self.bias, activation, [], variant
        )
        return computed
