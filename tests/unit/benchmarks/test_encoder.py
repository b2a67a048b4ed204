"""What the comparison of the encoder with matrix products counts and shows, without a model."""

from __future__ import annotations

from benchmarks.encoder import Kind, Row, table
from embedder.core.types import TokenBatch


def _kind(*batches: list[int]) -> Kind:
    packed = [TokenBatch.of([[0] * length for length in lengths]) for lengths in batches]
    return Kind("mixed", ["text"] * sum(map(len, batches)), packed)


def test_padding_is_that_of_the_rows_which_pieces_are_rounded_up_to() -> None:
    kind = _kind([3, 4], [64])

    efficiency = kind.padding_efficiency(1)

    assert kind.tokens == 71
    assert efficiency in (71 / 72, 1.0)  # 1 where nothing is padded, for want of bfloat16


def test_the_table_has_the_medians_of_the_rounds() -> None:
    row = Row("mixed", 2, 54.31, 0.991, 0.99987)
    row.texts_per_s, row.gflops = [400.0, 500.0, 450.0], [400.0, 600.0, 500.0]
    row.share, row.ratio = [0.61, 0.65, 0.63], [4.0, 5.0, 4.5]

    heading, line = table([row]).splitlines()

    assert len(line) == len(heading)
    assert line.split() == [
        *("mixed", "2", "54.3", "450", "400–500"),
        *("500", "0.63", "4.50", "0.991", "0.999870"),
    ]
