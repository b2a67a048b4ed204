"""The comparison of the encoder with matrix products counts padding, without a model."""

from __future__ import annotations

from benchmarks.encoder import Kind
from embedder.core.types import TokenBatch


def _kind(*batches: list[int]) -> Kind:
    packed = [TokenBatch.of([[0] * length for length in lengths]) for lengths in batches]
    return Kind("mixed", ["text"] * sum(map(len, batches)), packed)


def test_padding_is_that_of_the_rows_which_pieces_are_rounded_up_to() -> None:
    kind = _kind([3, 4], [64])

    efficiency = kind.padding_efficiency(1)

    assert kind.tokens == 71
    assert efficiency in (71 / 72, 1.0)  # 1 where nothing is padded, for want of bfloat16
