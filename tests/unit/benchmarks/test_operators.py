"""The table of operators adds up to the time of a pass."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import operators
from embedder.backends.torch.packed import PackedForward
from embedder.core.types import TokenBatch
from tests.tiny_models import write_tiny_bert
from tests.unit.backends.parity import open_files


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_rows_are_the_parts_of_a_pass(tmp_path: Path, dtype: torch.dtype) -> None:
    forward = PackedForward.load(
        open_files(write_tiny_bert(tmp_path)), dtype=dtype, device=torch.device("cpu")
    )

    spent, share = operators.measure(
        forward, TokenBatch.of([[1, 2, 3]] * 4), lambda: None, rounds=2
    )

    assert spent["products"] > 0
    assert share > 0
    assert operators.fused_us(forward, 8, 1) == 0 or dtype == torch.bfloat16


def test_a_table_has_microseconds_and_shares() -> None:
    column = dict.fromkeys(operators.ROWS, 0.0)
    column |= {"products": 3.0, "LayerNorm": 1.0, "share": 0.6, "GELU and sums": 0.5}

    lines = operators.table([20], [column]).splitlines()

    assert [line.split() for line in lines[1:]] == [
        ["products", "3.00", "(75", "%)"],
        ["of", "that", "GELU,", "sums", "0.50", "(12", "%)"],
        ["LayerNorm", "1.00", "(25", "%)"],
        ["µs", "a", "token", "and", "layer", "4.00"],
        ["share", "of", "the", "products", "0.60"],
    ]
