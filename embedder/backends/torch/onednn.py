"""Linear maps in bfloat16 on a CPU, by oneDNN: weights laid out once, what follows fused in.

torch's own ``linear`` lays the weights out anew at every call, and writes and reads its rows once
more for an activation or a sum. Knows nothing of layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from embedder.backends.checkpoint import Linear

_TYPICAL_ROWS = 256
"""For how many rows weights are laid out; measured, other numbers of rows lose nothing by it."""


def supports_onednn(dtype: torch.dtype, device: torch.device) -> bool:
    """Tell whether these kernels compute here; nowhere else is there anything to gain by them."""
    return (
        dtype == torch.bfloat16
        and device.type == "cpu"
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )


@dataclass(frozen=True, slots=True)
class OneDnnLinear:
    """A `Linear` whose weight is in an order that only oneDNN knows."""

    weight: torch.Tensor
    bias: torch.Tensor

    @classmethod
    def of(cls, linear: Linear) -> OneDnnLinear:
        """Lay out the weight of a linear map."""
        weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight, _TYPICAL_ROWS)
        return cls(weight, linear.bias)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Return [n, out] of [n, in]."""
        return self._computed(rows, "none", "")

    def gelu(self, rows: torch.Tensor, approximate: str) -> torch.Tensor:
        """Return what GELU makes of [n, out], as torch's ``approximate`` names it."""
        return self._computed(rows, "gelu", approximate)

    def plus(self, rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """Return [n, out] and ``others`` of the same shape, added before they are rounded."""
        added: torch.Tensor = torch.ops.mkldnn._linear_pointwise.binary(
            rows, others, self.weight, self.bias, "add"
        )
        return added

    def _computed(self, rows: torch.Tensor, then: str, how: str) -> torch.Tensor:
        computed: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            rows, self.weight, self.bias, then, [], how
        )
        return computed
