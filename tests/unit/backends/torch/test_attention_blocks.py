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
from embedder.backends.torch import onednn_attention
from embedder.backends.torch.architectures import EncoderShape
from embedder.backends.torch.attention import SdpaBlock
from embedder.backends.torch.onednn_attention import (
    MAX_SUM,
    attend,
    attend_by_products,
    prepare,
)
from embedder.backends.torch.onednn_layers import script
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
KINDS = pytest.mark.parametrize("kind", ["sdpa", "products", "compiled products"])

compiled_attend = script(attend)


def _attended(
    kind: str,
    qkv: torch.Tensor,
    lengths: list[int],
    bias: RelativePositionBias | None = None,
) -> torch.Tensor:
    """Compute all groups of inputs in ascending order."""
    out = torch.full((len(qkv), WIDTH), math.nan, dtype=qkv.dtype)
    for group in group_by_length(np.array(lengths, np.int32)):
        if kind == "sdpa":
            SdpaBlock.of(group, SHAPE, bias, CPU)(qkv, out)
        else:
            block = prepare(group, SHAPE, bias, qkv.dtype)
            (attend if kind == "products" else compiled_attend)(block, qkv, out, HEADS)
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
def test_every_input_attends_to_itself_only(kind: str, lengths: list[int]) -> None:
    lengths = sorted(lengths)
    qkv = _random(sum(lengths), 3 * WIDTH)

    found = _attended(kind, qkv, lengths)

    torch.testing.assert_close(found.double(), _plain(qkv, lengths), atol=1e-5, rtol=0)


@KINDS
@given(lengths=LENGTHS)
@example(lengths=[MAX_POSITIONS])
def test_the_bias_of_every_distance_is_added(kind: str, lengths: list[int]) -> None:
    lengths = sorted(lengths)
    qkv = _random(sum(lengths), 3 * WIDTH)
    by_distance = _random(HEADS, 2 * MAX_POSITIONS - 1, seed=1)

    found = _attended(kind, qkv, lengths, RelativePositionBias(by_distance))

    expected = _plain(qkv, lengths, by_distance)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)


@given(lengths=LENGTHS)
def test_products_in_bfloat16_are_accurate(lengths: list[int]) -> None:
    lengths = sorted(lengths)
    qkv = (_random(sum(lengths), 3 * WIDTH) / 2).bfloat16()

    found = _attended("compiled products", qkv, lengths)

    expected = _plain(qkv, lengths)
    torch.testing.assert_close(found.double(), expected, atol=0.05, rtol=0)


def _constant_scores(score: float, lengths: list[int]) -> torch.Tensor:
    """Return rows whose attention scores in bits are all ``score``, with random values."""
    qkv = _random(sum(lengths), 3 * WIDTH)
    qkv[:, : 2 * WIDTH] = 1
    qkv[:, :WIDTH] *= score / math.log2(math.e) / math.sqrt(HEAD_WIDTH)
    return qkv


@pytest.mark.parametrize("score", [-1e5, -200, -113, -111, 0, 100, 110, 113, 127, 128, 1e5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_of_any_size_give_the_mean_of_the_values(score: float, dtype: torch.dtype) -> None:
    """The exponentials of some are no numbers of the format; equal scores have equal weights."""
    lengths = [5, 7]
    qkv = _constant_scores(score, lengths).to(dtype)

    found = _attended("compiled products", qkv, lengths).float()

    values = torch.split(qkv[:, 2 * WIDTH :].float(), lengths)
    expected = torch.cat([rows.mean(0).expand(len(rows), -1) for rows in values])
    torch.testing.assert_close(
        found, expected, atol=1e-5 if dtype == torch.float32 else 0.02, rtol=0
    )


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("below", [0.5, -0.5])
def test_only_sums_beyond_the_limit_are_left_to_the_fused_kernel(sign: int, below: float) -> None:
    (group,) = group_by_length(np.array([4, 4], np.int32))
    # The sum of four exponentials is 2 ** (score + 2).
    score = sign * (math.log2(MAX_SUM) - below) - 2
    runs, buffers = prepare(group, SHAPE, None, torch.float32)
    assert buffers is not None

    out = torch.full((8, WIDTH), math.nan)
    done = attend_by_products(runs, buffers, _constant_scores(score, [4, 4]), out)

    assert done == (below > 0) == bool(out.isfinite().all())


@pytest.mark.parametrize("limit", [0, 8])
def test_tokens_that_are_not_attended_to_change_nothing(
    monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(onednn_attention, "MAX_TOKENS", limit)
    lengths, by_distance = [3, 4, 4], RelativePositionBias(_random(HEADS, 2 * MAX_POSITIONS - 1))
    attended = np.ones(sum(lengths), np.bool_)
    attended[[1, 6]] = False
    (group,) = group_by_length(np.array(lengths, np.int32), attended)
    qkv = _random(sum(lengths), 3 * WIDTH)
    expected, found = torch.empty(2, sum(lengths), WIDTH)
    SdpaBlock.of(group, SHAPE, by_distance, CPU)(qkv, expected)

    attend(prepare(group, SHAPE, by_distance, torch.float32), qkv, found, HEADS)

    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@given(lengths=LENGTHS)
def test_long_inputs_are_left_to_the_fused_kernel(lengths: list[int]) -> None:
    lengths = sorted(lengths)
    qkv = _random(sum(lengths), 3 * WIDTH)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onednn_attention, "MAX_TOKENS", 12)
        found = _attended("products", qkv, lengths)

    torch.testing.assert_close(found.double(), _plain(qkv, lengths), atol=1e-5, rtol=0)


def test_a_block_can_be_reused_for_every_layer() -> None:
    """Its buffers must hold no values of the previous layer."""
    lengths = [3, 4, 5]
    (group,) = group_by_length(np.array(lengths, np.int32))
    block = prepare(group, SHAPE, None, torch.float32)
    out = torch.empty(sum(lengths), WIDTH)

    for seed in range(3):
        qkv = _random(sum(lengths), 3 * WIDTH, seed=seed)
        attend(block, qkv, out, HEADS)

        torch.testing.assert_close(out.double(), _plain(qkv, lengths), atol=1e-5, rtol=0)
