"""Attention in bfloat16 on a CPU: batched matrix products for short inputs, and a fused kernel.

oneDNN computes the products of short inputs several times faster than torch's fused kernel. The
functions are in the part of Python that TorchScript compiles.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as functional

from embedder.backends.grouping import Group
from embedder.backends.torch.architectures import EncoderShape
from embedder.backends.torch.attention import Bias

MAX_TOKENS = 96
"""The longest inputs that matrix products compute; the fused kernel is faster for longer ones."""

SIZE_MULTIPLE = 8
"""Queries and keys are padded to a multiple of this: oneDNN compiles a kernel for every shape."""

MAX_SUM = 2.0**112
"""The largest sum of exponentials that is used; the smallest is its reciprocal.

Their products with values up to 2**16, the range of float16, stay finite.
"""

_LOG2_E = math.log2(math.e)


class Run(NamedTuple):
    """Inputs of one length, whose rows begin at ``start`` in the batch.

    ``bias`` [inputs or 1, heads or 1, length, length] is added to the scores. ``places`` are those
    of queries, keys and values in the buffers, each [inputs, heads, length, head width], and of the
    weighted values and the sums of weights, [inputs, length, heads, head width or 1]; empty without
    buffers.
    """

    start: int
    inputs: int
    length: int
    bias: torch.Tensor | None
    places: list[torch.Tensor]


class Buffers(NamedTuple):
    """What the products of a block read and write; their padding is zero.

    ``queries`` and ``keys`` are [count × heads, size, head width], ``values`` and ``attended``
    [count × heads, size, head width + 1 or more], ``scores`` [count × heads, size, size], ``sums``
    [count, heads, size] in ``attended``, and ``bias`` [1, heads, size, size].
    """

    queries: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    scores: torch.Tensor
    attended: torch.Tensor
    sums: torch.Tensor
    bias: torch.Tensor | None


class Block(NamedTuple):
    """A group of inputs, prepared for all layers; without ``buffers`` for the fused kernel."""

    runs: list[Run]
    buffers: Buffers | None


def prepare(group: Group, shape: EncoderShape, bias: Bias, dtype: torch.dtype) -> Block:
    """Prepare a group whose inputs are sorted by length."""
    if group.rows.shape[1] <= MAX_TOKENS and group.attended is group.valid:
        return _with_buffers(group, shape, bias, dtype)
    runs = []
    for part in group.by_length():
        count, length = part.rows.shape
        added = bias.between(length, length) if bias is not None else None
        if part.attended is not part.valid:
            zeros = torch.zeros((), dtype=dtype) if added is None else added
            ignored = torch.from_numpy(~part.attended)[:, None, None, :]
            added = zeros.masked_fill(ignored, -math.inf)
        runs.append(Run(int(part.rows[0, 0]), count, length, added, []))
    return Block(runs, None)


def _with_buffers(group: Group, shape: EncoderShape, bias: Bias, dtype: torch.dtype) -> Block:
    count, longest = group.rows.shape
    heads, width, size = shape.heads, shape.head_width, _round_up(longest)
    queries, keys = torch.zeros(2, count, heads, size, width, dtype=dtype)
    values = torch.zeros(count, heads, size, _round_up(width + 1), dtype=dtype)
    attended = torch.empty_like(values)
    values[:, :, :longest, width] = torch.from_numpy(group.valid)[:, None]
    added = bias.between(size, size) if bias is not None else None
    runs, first = [], 0
    for part in group.by_length():
        inputs, length = part.rows.shape
        at = slice(first, first + inputs)
        by_place = attended[at, :, :length].transpose(1, 2)
        places = [each[at, :, :length, :width] for each in (queries, keys, values)]
        places += [by_place[..., :width], by_place[..., width : width + 1]]
        of_length = None if added is None else added[:, :, :length, :length]
        runs.append(Run(int(part.rows[0, 0]), inputs, length, of_length, places))
        first += inputs
    q, k, v = (each.flatten(0, 1) for each in (queries, keys, values))
    scores = torch.empty(count * heads, size, size, dtype=dtype)
    sums = attended[..., width]
    return Block(runs, Buffers(q, k, v, scores, attended.flatten(0, 1), sums, added))


def attend(block: Block, qkv: torch.Tensor, out: torch.Tensor, heads: int) -> None:
    """Compute attention on [total, 3 × width]; write the group's rows of ``out``, [total, width].

    Very large and very small scores are left to the fused kernel.
    """
    buffers = block.buffers
    if buffers is None or not attend_by_products(block.runs, buffers, qkv, out):
        for run in block.runs:
            rows = qkv.narrow(0, run.start, run.inputs * run.length)
            parts = rows.view(run.inputs, run.length, 3, heads, -1).permute(2, 0, 3, 1, 4)
            computed = functional.scaled_dot_product_attention(
                parts[0], parts[1], parts[2], attn_mask=run.bias
            )
            by_place = computed.transpose(1, 2)
            out.narrow(0, run.start, len(rows)).view(by_place.shape).copy_(by_place)


def attend_by_products(
    runs: list[Run],
    buffers: Buffers,
    qkv: torch.Tensor,
    out: torch.Tensor,
    max_sum: float = MAX_SUM,
    log2_e: float = _LOG2_E,
) -> bool:
    """Compute attention as `attend`, with a softmax that needs one pass over the scores.

    It does not subtract the largest score, which changes no quotient. The values have a column of
    ones, so their product with the exponentials ends with the sums to divide by. Padded keys have
    zeros there and need no mask. Returns False, and writes nothing, if a sum is so large or so
    small that an exponential may have left the range of the number format.
    """
    for run in runs:
        inputs, heads, length, width = run.places[0].size()
        rows = qkv.narrow(0, run.start, inputs * length)
        parts = rows.view(inputs, length, 3, heads, width).permute(2, 0, 3, 1, 4)
        for at in range(3):
            run.places[at].copy_(parts[at])
    queries, keys, scores = buffers.queries, buffers.keys.transpose(1, 2), buffers.scores
    # Powers of 2 replace those of e.
    factor = log2_e / queries.size(2) ** 0.5
    torch.baddbmm(scores, queries, keys, beta=0, alpha=factor, out=scores)
    bias = buffers.bias
    if bias is not None:
        scores.view(-1, bias.size(1), bias.size(2), bias.size(3)).add_(bias, alpha=log2_e)
    torch.bmm(scores.exp2_(), buffers.values, out=buffers.attended)
    lowest, highest = torch.aminmax(buffers.sums)
    if not (float(lowest) > 1 / max_sum and float(highest) < max_sum):
        return False
    for run in runs:
        rows = out.narrow(0, run.start, run.inputs * run.length)
        torch.div(run.places[3], run.places[4], out=rows.view(run.places[3].shape))
    return True


def _round_up(size: int) -> int:
    return -(-size // SIZE_MULTIPLE) * SIZE_MULTIPLE
