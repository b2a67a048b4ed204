"""Attention over a block of short inputs by batched matrix products, in bfloat16 on a CPU.

oneDNN computes them several times faster than torch's fused kernel computes such inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from embedder.backends.grouping import Group
from embedder.backends.torch.architectures import EncoderShape
from embedder.backends.torch.attention import Bias, SdpaBlock

MAX_TOKENS = 96
"""The longest inputs that are computed so; the fused kernel is faster for longer ones."""

SIZE_MULTIPLE = 8
"""Queries and keys are padded to a multiple of this: oneDNN compiles a kernel for every shape."""

MAX_SUM = 2.0**112
"""The largest sum of exponentials that is used; the smallest is its reciprocal.

Their products with values up to 2**16, the range of float16, stay finite.
"""

_CPU = torch.device("cpu")
_ZERO = torch.zeros((), dtype=torch.bfloat16)


@dataclass(frozen=True, slots=True)
class _Run:
    """Inputs of one length: where their rows are in the batch, and their places in the buffers.

    ``padded`` are the places of queries, keys and values, each [count, heads, length, head width];
    ``weighted`` and ``sums`` are the quotient's parts, [count, length, heads, head width or 1].
    """

    rows: slice
    padded: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    weighted: torch.Tensor
    sums: torch.Tensor

    def read(self, qkv: torch.Tensor) -> None:
        """Copy the rows of [total, 3 × width] to the buffers."""
        count, heads, length, width = self.padded[0].shape
        rows = qkv[self.rows].view(count, length, 3, heads, width).permute(2, 0, 3, 1, 4)
        for place, part in zip(self.padded, rows.unbind(), strict=True):
            place.copy_(part)

    def write(self, out: torch.Tensor) -> None:
        """Write the attended values to the rows of ``out``, [total, width]."""
        torch.div(self.weighted, self.sums, out=out[self.rows].view(self.weighted.shape))


@dataclass(frozen=True, slots=True)
class MatmulBlock:
    """Attention over a group of inputs, with a softmax that needs one pass over the scores.

    It does not subtract the largest score, which changes no quotient. The values have a column of
    ones, so their product with the exponentials ends with the sums to divide by. Padded keys have
    zeros there and need no mask. If a sum is so large or so small that an exponential may have
    left the range of the number format, ``exact`` computes the block.

    Every layer overwrites the buffers, except their padding, which is zero: ``queries`` and
    ``keys`` [count × heads, size, head width], ``values`` [count × heads, size, head width and
    more], ``scores`` and ``attended``. Powers of 2 replace those of e, so ``factor``, which
    multiplies the scores, and ``bias``, which is added to them, contain log2(e).
    """

    runs: tuple[_Run, ...]
    queries: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    scores: torch.Tensor
    attended: torch.Tensor
    sums: torch.Tensor
    factor: float
    bias: torch.Tensor | None
    exact: Callable[[], SdpaBlock]

    @classmethod
    def of(
        cls, group: Group, shape: EncoderShape, bias: Bias, dtype: torch.dtype = torch.bfloat16
    ) -> MatmulBlock:
        """Prepare a group for all layers; its inputs are sorted, and all tokens attended to."""
        count, longest = group.rows.shape
        heads, width, size = shape.heads, shape.head_width, _round_up(longest)
        queries, keys = torch.zeros(2, count, heads, size, width, dtype=dtype)
        values = torch.zeros(count, heads, size, _round_up(width + 1), dtype=dtype)
        attended = torch.empty_like(values)
        values[:, :, :longest, width] = torch.from_numpy(group.valid)[:, None]
        runs, first = [], 0
        for part in group.by_length():
            inputs, length = part.rows.shape
            begin, at = int(part.rows[0, 0]), slice(first, first + inputs)
            q, k, v = (each[at, :, :length, :width] for each in (queries, keys, values))
            by_place = attended[at, :, :length].transpose(1, 2)
            rows = slice(begin, begin + inputs * length)
            runs.append(
                _Run(rows, (q, k, v), by_place[..., :width], by_place[..., width : width + 1])
            )
            first += inputs
        return cls(
            tuple(runs),
            queries.flatten(0, 1),
            keys.flatten(0, 1),
            values.flatten(0, 1),
            torch.empty(count * heads, size, size, dtype=dtype),
            attended.flatten(0, 1),
            attended[..., width],
            width**-0.5 * math.log2(math.e),
            None if bias is None else bias.between(size, size) * math.log2(math.e),
            partial(SdpaBlock.of, group, shape, bias, _CPU),
        )

    def __call__(self, qkv: torch.Tensor, out: torch.Tensor) -> None:
        """Compute attention on [total, 3 × width]; write the group's rows of ``out``."""
        for run in self.runs:
            run.read(qkv)
        keys, zero = self.keys.transpose(1, 2), _ZERO.to(qkv.dtype)
        torch.baddbmm(zero, self.queries, keys, beta=0, alpha=self.factor, out=self.scores)
        if self.bias is not None:
            heads, size = self.bias.shape[1:3]
            self.scores.view(-1, heads, size, size).add_(self.bias)
        torch.bmm(self.scores.exp2_(), self.values, out=self.attended)
        lowest, highest = torch.aminmax(self.sums)
        if not (lowest > 1 / MAX_SUM and highest < MAX_SUM):
            self.exact()(qkv, out)
            return
        for run in self.runs:
            run.write(out)


def _round_up(size: int) -> int:
    return -(-size // SIZE_MULTIPLE) * SIZE_MULTIPLE
