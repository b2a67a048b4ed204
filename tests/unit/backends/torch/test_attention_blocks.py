"""Attention over a group equals attention over each of its inputs, for both kinds of block."""

from __future__ import annotations

import math
from itertools import accumulate

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from embedder.backends.grouping import group_by_length
from embedder.backends.torch import attention
from embedder.backends.torch.architectures import EncoderShape
from embedder.backends.torch.attention import MatmulBlock, SdpaBlock
from embedder.backends.torch.relative_positions import RelativePositionBias

HEADS, HEAD_WIDTH = 3, 8
WIDTH = HEADS * HEAD_WIDTH
MAX_POSITIONS = 40
CPU = torch.device("cpu")
SHAPE = EncoderShape.read(
    {
        "model_type": "bert",
        "num_hidden_layers": 1,
        "num_attention_heads": HEADS,
        "hidden_size": WIDTH,
    }
)
LENGTHS = st.lists(st.integers(1, MAX_POSITIONS), min_size=1, max_size=12)
KINDS = pytest.mark.parametrize("kind", [SdpaBlock, MatmulBlock])


def _attended(
    kind: type[SdpaBlock | MatmulBlock],
    qkv: torch.Tensor,
    lengths: list[int],
    bias: RelativePositionBias | None = None,
) -> torch.Tensor:
    """Compute all groups of inputs in ascending order."""
    out = torch.full((len(qkv), WIDTH), math.nan, dtype=qkv.dtype)
    for group in group_by_length(np.array(lengths, np.int32)):
        if kind is SdpaBlock:
            SdpaBlock.of(group, SHAPE, bias, CPU)(qkv, out)
        else:
            for block in MatmulBlock.all_of(group, SHAPE, bias, qkv.dtype):
                block(qkv, out)
    return out


def _plain(
    qkv: torch.Tensor, lengths: list[int], by_distance: torch.Tensor | None = None
) -> torch.Tensor:
    """Attend input by input and head by head, in float64."""
    rows = []
    for end, length in zip(accumulate(lengths), lengths, strict=True):
        part = qkv[end - length : end].double()
        heads = []
        for head in range(HEADS):
            at = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
            q, k, v = (third[:, at] for third in part.view(-1, 3, WIDTH).unbind(1))
            scores = q @ k.T / math.sqrt(HEAD_WIDTH)
            if by_distance is not None:
                positions = torch.arange(len(part))
                scores += by_distance[
                    head, positions[None, :] - positions[:, None] + MAX_POSITIONS - 1
                ]
            heads.append(scores.softmax(-1) @ v)
        rows.append(torch.cat(heads, dim=1))
    return torch.cat(rows)


def _random(*size: int, seed: int = 0) -> torch.Tensor:
    return 2 * torch.randn(*size, generator=torch.Generator().manual_seed(seed))


@KINDS
@given(lengths=LENGTHS)
@example(lengths=[32, 32])
@example(lengths=[8, 9, 33])
def test_every_input_attends_to_itself_only(
    kind: type[SdpaBlock | MatmulBlock], lengths: list[int]
) -> None:
    lengths = sorted(lengths)
    qkv = _random(sum(lengths), 3 * WIDTH)

    found = _attended(kind, qkv, lengths)

    torch.testing.assert_close(found.double(), _plain(qkv, lengths), atol=1e-5, rtol=0)


@KINDS
@given(lengths=LENGTHS)
@example(lengths=[MAX_POSITIONS])
def test_the_bias_of_every_distance_is_added(
    kind: type[SdpaBlock | MatmulBlock], lengths: list[int]
) -> None:
    lengths = sorted(lengths)
    qkv = _random(sum(lengths), 3 * WIDTH)
    by_distance = _random(HEADS, 2 * MAX_POSITIONS - 1, seed=1)

    found = _attended(kind, qkv, lengths, RelativePositionBias(by_distance))

    expected = _plain(qkv, lengths, by_distance)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)


def test_a_group_with_many_scores_is_split_into_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = [20, 21, 21, 22, 23]
    qkv = _random(sum(lengths), 3 * WIDTH)
    monkeypatch.setattr(attention, "MAX_SCORES", 2 * HEADS * 24 * 32)

    found = _attended(MatmulBlock, qkv, lengths)

    (group,) = group_by_length(np.array(lengths, np.int32))
    assert len(MatmulBlock.all_of(group, SHAPE, None, torch.float32)) == 3
    torch.testing.assert_close(found.double(), _plain(qkv, lengths), atol=1e-5, rtol=0)


@given(lengths=LENGTHS)
def test_products_in_bfloat16_are_accurate(lengths: list[int]) -> None:
    lengths = sorted(lengths)
    qkv = (_random(sum(lengths), 3 * WIDTH) / 2).bfloat16()

    found = _attended(MatmulBlock, qkv, lengths)

    expected = _plain(qkv, lengths)
    torch.testing.assert_close(found.double(), expected, atol=0.05, rtol=0)


def test_very_negative_scores_are_not_lost_beside_padded_keys() -> None:
    """A padded key has the score 0 before masking, which is above every valid score here."""
    qkv = torch.ones(5, 3 * WIDTH)
    qkv[:, :WIDTH] *= -100
    qkv[:, WIDTH : 2 * WIDTH] *= 100

    assert torch.allclose(_attended(MatmulBlock, qkv, [5]), torch.ones(5, WIDTH))


def test_a_block_can_be_reused_for_every_layer() -> None:
    """Its buffers must hold no values of the previous layer."""
    lengths = [3, 4, 5]
    (group,) = group_by_length(np.array(lengths, np.int32))
    (block,) = MatmulBlock.all_of(group, SHAPE, None, torch.float32)
    out = torch.empty(sum(lengths), WIDTH)

    for seed in range(3):
        qkv = _random(sum(lengths), 3 * WIDTH, seed=seed)
        block(qkv, out)

        torch.testing.assert_close(out.double(), _plain(qkv, lengths), atol=1e-5, rtol=0)
