"""Attention over one group of a batch whose inputs are sorted by length.

By torch's fused kernel; or, in bfloat16 on a CPU, by batched matrix products, which oneDNN computes
several times faster for the short inputs and narrow heads of these models. Knows nothing of
weights or layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as functional

from embedder.backends.grouping import Group, relative_position_buckets
from embedder.backends.torch.architectures import EncoderShape
from embedder.backends.torch.copies import to_device

KEYS = 32
"""Keys are padded to a multiple of this: the softmax of any other width is several times slower."""

QUERIES = 8
"""Queries are padded to a multiple of this: oneDNN compiles a kernel for every shape it meets."""

SCORES = 2**20
"""How many scores a block has at most, unless one input has more.

Beyond a core's own cache they gain nothing, and memory that is given back to the system after
every layer comes back page by page: a quarter of the time at 256 tokens an input.
"""

EXACT = 16
"""Inputs of up to so many tokens are mixed in float32: their vectors are means of few rows, where
less of what was rounded cancels out, and there is little to compute.
"""

_NOTHING = torch.zeros((), dtype=torch.bfloat16)


@dataclass(frozen=True, slots=True)
class RelativePositionBias:
    """What attention adds for the distance between two tokens, the same in every layer.

    ``by_distance`` is [heads, 2 × most - 1]: for distances from ``1 - most`` to ``most - 1``.
    """

    by_distance: torch.Tensor

    @classmethod
    def of(cls, buckets: torch.Tensor, most: int) -> RelativePositionBias:
        """Look up the biases [buckets, heads] of all distances that ``most`` places have."""
        distances = torch.arange(1 - most, most)
        return cls(buckets[relative_position_buckets(distances).to(buckets.device)].T.contiguous())

    def between(self, queries: int, keys: int) -> torch.Tensor:
        """Return [1, heads, queries, keys]; places beyond ``most`` are as far as can be."""
        most = (self.by_distance.shape[1] + 1) // 2
        device = self.by_distance.device
        away = torch.arange(keys, device=device) - torch.arange(queries, device=device)[:, None]
        return self.by_distance[:, away.clamp(1 - most, most - 1) + most - 1][None]


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the rows of a group are in its batch, and in a block ``[count, longest]``.

    Sorted inputs make them one ``part`` of the batch, which is the block where nothing is padded.
    Else ``rows`` has the part's row for every place, and ``valid`` the place of every row.
    """

    count: int
    longest: int
    part: slice
    rows: torch.Tensor | None
    valid: torch.Tensor | None

    @classmethod
    def of(cls, group: Group, device: torch.device) -> _Places:
        count, longest = group.rows.shape
        begin = int(group.rows[0, 0])
        part = slice(begin, begin + int(group.valid.sum()))
        if group.full:
            return cls(count, longest, part, None, None)
        rows = to_device((group.rows - begin).reshape(-1), device)
        valid = to_device(group.valid.reshape(-1).nonzero()[0], device)
        return cls(count, longest, part, rows, valid)

    def heads_of(self, qkv: torch.Tensor, heads: int) -> torch.Tensor:
        """Return a view [3, count, heads, longest, head width] of the group's rows."""
        part = qkv[self.part]
        laid = part if self.rows is None else part.index_select(0, self.rows)
        return laid.view(self.count, self.longest, 3, heads, -1).permute(2, 0, 3, 1, 4)

    def write(self, mixed: torch.Tensor, out: torch.Tensor) -> None:
        """Put [count, heads, longest, head width] into the group's rows of ``out``."""
        by_place = mixed.transpose(1, 2)
        part = out[self.part]
        if self.valid is None:
            part.view(by_place.shape).copy_(by_place)
        else:
            flat = by_place.reshape(self.count * self.longest, -1)
            torch.index_select(flat, 0, self.valid, out=part)


@dataclass(frozen=True, slots=True)
class SdpaBlock:
    """Attention by torch's fused kernel, for any device and number format.

    ``mask`` is what attention adds to its scores, or bool: what it may look at.
    """

    places: _Places
    heads: int
    mask: torch.Tensor | None

    @classmethod
    def of(
        cls,
        group: Group,
        shape: EncoderShape,
        bias: RelativePositionBias | None,
        device: torch.device,
    ) -> SdpaBlock:
        """Prepare a group of inputs for all layers."""
        mask = None
        if not group.full:
            mask = to_device(group.valid, device)[:, None, None, :]
        if bias is not None:
            between = bias.between(group.rows.shape[1], group.rows.shape[1])
            mask = between if mask is None else between.masked_fill(~mask, -torch.inf)
        return cls(_Places.of(group, device), shape.heads, mask)

    def __call__(self, qkv: torch.Tensor, out: torch.Tensor) -> None:
        """Mix [total, 3 × width] into the group's rows of ``out`` [total, width]."""
        q, k, v = self.places.heads_of(qkv, self.heads)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=self.mask)
        self.places.write(mixed, out)


@dataclass(frozen=True, slots=True)
class MatmulBlock:
    """Attention by batched matrix products, keys and queries padded to sizes that suit a CPU.

    ``queries`` is [count, heads, queries, head width], ``pairs`` [2, count, heads, keys, head
    width]: room for one layer's, zero where it pads. ``mask`` is added to the scores.
    """

    places: _Places
    queries: torch.Tensor
    pairs: torch.Tensor
    mask: torch.Tensor | None

    @classmethod
    def all_of(
        cls,
        group: Group,
        shape: EncoderShape,
        bias: RelativePositionBias | None,
        dtype: torch.dtype,
    ) -> list[MatmulBlock]:
        """Prepare a group of inputs for all layers, in blocks of few enough scores."""
        longest = group.rows.shape[1]
        scores = shape.heads * _multiple(longest, QUERIES) * _multiple(longest, KEYS)
        parts = group.parts(max(1, SCORES // scores))
        return [cls._of(part, shape, bias, dtype) for part in parts]

    @classmethod
    def _of(
        cls,
        group: Group,
        shape: EncoderShape,
        bias: RelativePositionBias | None,
        dtype: torch.dtype,
    ) -> MatmulBlock:
        count, longest = group.rows.shape
        dtype = torch.float32 if longest <= EXACT else dtype
        rows, keys = _multiple(longest, QUERIES), _multiple(longest, KEYS)
        mask = bias.between(rows, keys) if bias is not None else None
        if not group.full or keys > longest:
            lengths = torch.from_numpy(group.valid.sum(axis=1))
            beyond = torch.arange(keys) >= lengths[: 1 if group.full else count, None, None, None]
            unmasked = torch.zeros((), dtype=dtype) if mask is None else mask.to(dtype)
            mask = torch.where(beyond, torch.tensor(-torch.inf, dtype=dtype), unmasked)
        return cls(
            _Places.of(group, torch.device("cpu")),
            torch.zeros(count, shape.heads, rows, shape.head_width, dtype=dtype),
            torch.zeros(2, count, shape.heads, keys, shape.head_width, dtype=dtype),
            mask,
        )

    def __call__(self, qkv: torch.Tensor, out: torch.Tensor) -> None:
        """Mix [total, 3 × width] into the group's rows of ``out`` [total, width]."""
        count, heads, rows, head_width = self.queries.shape
        longest = self.places.longest
        laid = self.places.heads_of(qkv, heads)
        self.queries[:, :, :longest].copy_(laid[0])
        self.pairs[:, :, :, :longest].copy_(laid[1:])
        q = self.queries.flatten(0, 1)
        k, v = self.pairs.flatten(1, 2)
        scores = torch.baddbmm(
            _NOTHING.to(q.dtype), q, k.transpose(1, 2), beta=0, alpha=head_width**-0.5
        )
        if self.mask is not None:
            scores.view(count, heads, rows, -1).add_(self.mask)
        mixed = torch.bmm(scores.softmax(-1), v).view(count, heads, rows, head_width)
        self.places.write(mixed[:, :, :longest].to(out.dtype), out)


def _multiple(size: int, of: int) -> int:
    return -(-size // of) * of
