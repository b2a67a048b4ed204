"""Attention in one call and in blocks equals the attention of each input alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given
from hypothesis import strategies as st

from embedder.backends.grouping import group_by_length
from embedder.backends.torch.architectures import EncoderShape
from embedder.backends.torch.attention import Attention, BlockAttention, SdpaBlock, VarlenAttention
from tests.tiny_models import BERT_CONFIG
from tests.unit.backends.torch.varlen_reference import attend_input_by_input

CPU = torch.device("cpu")
SHAPE = EncoderShape.read(BERT_CONFIG)


def _alone(qkv: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    """Return softmax(q kᵀ / √d) v of each input."""
    attended = []
    for rows in torch.split(qkv, lengths):
        q, k, v = (part.view(len(rows), SHAPE.heads, -1) for part in rows.chunk(3, dim=1))
        scores = torch.einsum("ihd,jhd->hij", q, k) / SHAPE.head_width**0.5
        attended.append(torch.einsum("hij,jhd->ihd", scores.softmax(-1), v).flatten(1))
    return torch.cat(attended)


def _in_blocks(lengths: list[int]) -> Attention:
    groups = group_by_length(np.array(lengths, np.int32))
    blocks = [SdpaBlock.of(group, SHAPE, None, CPU) for group in groups]
    return BlockAttention(blocks, torch.zeros(sum(lengths), SHAPE.width))


def _in_one_call(lengths: list[int]) -> Attention:
    return VarlenAttention.of(attend_input_by_input, SHAPE.heads, np.array(lengths, np.int32), CPU)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=9), st.integers(0, 2**31))
def test_one_call_attends_within_each_input_in_any_order(lengths: list[int], seed: int) -> None:
    numbers = torch.Generator().manual_seed(seed)
    qkv = torch.randn(sum(lengths), 3 * SHAPE.width, generator=numbers)

    found = _in_one_call(lengths)(qkv)

    torch.testing.assert_close(found, _alone(qkv, lengths), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("lengths", [[3], [1, 1, 2, 5, 9, 9, 33]])
def test_blocks_of_sorted_inputs_equal_one_call(lengths: list[int]) -> None:
    qkv = torch.randn(sum(lengths), 3 * SHAPE.width)

    found = _in_blocks(lengths)(qkv)

    torch.testing.assert_close(found, _in_one_call(lengths)(qkv), atol=1e-5, rtol=1e-5)


def test_the_reference_equals_torch() -> None:
    rows = torch.randn(3, 7, SHAPE.heads, SHAPE.head_width)
    ends = torch.tensor([0, 7], dtype=torch.int32)

    found = attend_input_by_input(rows[0], rows[1], rows[2], ends, ends, 7, 7)

    q, k, v = rows.transpose(1, 2)
    expected = functional.scaled_dot_product_attention(q, k, v).transpose(0, 1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_kernel_gets_the_offsets_of_the_inputs() -> None:
    attention = VarlenAttention.of(
        attend_input_by_input, SHAPE.heads, np.array([3, 1, 5], np.int32), CPU
    )

    assert attention.offsets.tolist() == [0, 3, 4, 9]
    assert attention.offsets.dtype == torch.int32
    assert attention.longest == 5
