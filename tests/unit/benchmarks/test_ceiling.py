"""The ceiling counts the operations of a token, and computes all of them."""

from __future__ import annotations

from benchmarks import ceiling

CONFIG = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6}


def test_a_token_of_the_default_model_takes_ten_million_multiplications_and_as_many_sums() -> None:
    assert ceiling.operations_a_token(CONFIG) == 2 * 6 * (4 * 384**2 + 2 * 384 * 1536)


def test_the_ceiling_computes_every_matrix_of_every_layer() -> None:
    shapes = ceiling.shapes(CONFIG)

    assert sum(rows * columns for rows, columns in shapes) == 4 * 384**2 + 2 * 384 * 1536
