"""Where the time of an encoder layer goes, by operator and length of the inputs, on one thread.

``python -m benchmarks.operators`` prints a table: microseconds for a token in a layer, and the
share of each operator. ``GELU and sums`` are the parts of the products that are fused into them:
the difference to products alone. ``between`` is the time outside all operators, of Python and of
the interpreter. The last row is the time of torch's own products of these shapes, as in
`benchmarks.ceiling`, divided by the time of the layer.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import ceiling
from embedder.backends.torch.packed import PackedForward
from embedder.core.types import TokenBatch
from embedder.models.files import ModelFiles
from embedder.settings.model import ModelSettings

LENGTHS = (8, 20, 54, 128, 256)

GROUPS = {
    "products": ("mkldnn::_linear_pointwise", "aten::addmm", "aten::mm"),
    "attention products": ("aten::bmm", "aten::baddbmm"),
    "softmax": ("aten::exp2_", "aten::div", "aten::aminmax", "aten::_softmax"),
    "fused attention": ("aten::_scaled_dot_product_flash_attention_for_cpu",),
    "LayerNorm": ("aten::native_layer_norm",),
    "GELU": ("aten::gelu",),
    "layout": ("aten::copy_", "aten::index_select", "aten::fill_", "aten::zero_", "aten::add_"),
}
"""The operators of each row; all others are in the row ``other``."""

ROWS = (*GROUPS, "other", "between")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each length and print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.operators", description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--tokens", type=int, default=1024, help="tokens of a batch (1024)")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    dtype = getattr(torch, options.dtype)
    files = ModelFiles.open(ModelSettings(offline=True))
    forward = PackedForward.load(files, dtype=dtype, device=torch.device("cpu"))
    layers = int(files.config["num_hidden_layers"])
    most = ceiling.products(files.config, dtype)
    fused = fused_us(forward, options.tokens, options.rounds)
    columns = []
    for length in options.lengths:
        batch = _batch(length, options.tokens)
        tokens = int(batch.lengths.sum()) * layers
        column, share = measure(forward, batch, most, options.rounds)
        columns.append({row: 1e6 * spent / tokens for row, spent in column.items()})
        columns[-1]["share"] = share
        columns[-1]["GELU and sums"] = fused
    print(table(options.lengths, columns))
    return 0


def measure(
    forward: PackedForward, batch: TokenBatch, most: Callable[[], object], rounds: int
) -> tuple[dict[str, float], float]:
    """Return the seconds of a pass by row of the table, and the share of the machine's products."""
    with torch.inference_mode():
        forward(batch)
        walls, ceilings = [], []
        for _ in range(rounds):
            ceilings.append(_seconds(most) / ceiling.ROWS)
            walls.append(_seconds(lambda: forward(batch)))
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            total = _seconds(lambda: [forward(batch) for _ in range(rounds)]) / rounds
    spent = dict.fromkeys(ROWS, 0.0)
    rows = {name: row for row, names in GROUPS.items() for name in names}
    for event in profiled.key_averages():
        spent[rows.get(event.key, "other")] += event.self_cpu_time_total / 1e6 / rounds
    # Both are of one run: the speed of a shared machine changes from one to the next.
    spent["between"] = max(0.0, total - sum(spent.values()))
    tokens = int(batch.lengths.sum())
    shares = [tokens * least / wall for least, wall in zip(ceilings, walls, strict=True)]
    return spent, statistics.median(shares)


def fused_us(forward: PackedForward, tokens: int, rounds: int) -> float:
    """Return the microseconds of a token in a layer for what is fused into the products."""
    if forward._onednn is None:
        return 0.0
    weights = forward._onednn.weights[0]
    linear = torch.ops.mkldnn._linear_pointwise
    rows = torch.randn(tokens, forward.width).bfloat16()
    inner = linear(rows, weights.up, weights.up_bias, "gelu", [], "none")
    pairs = [
        (
            lambda: linear(rows, weights.up, weights.up_bias, "gelu", [], "none"),
            lambda: linear(rows, weights.up, weights.up_bias, "none", [], ""),
        ),
        (
            lambda: linear.binary(inner, rows, weights.down, weights.down_bias, "add"),
            lambda: linear(inner, weights.down, weights.down_bias, "none", [], ""),
        ),
        (
            lambda: linear.binary(
                rows, rows, weights.attention_output, weights.attention_output_bias, "add"
            ),
            lambda: linear(
                rows, weights.attention_output, weights.attention_output_bias, "none", [], ""
            ),
        ),
    ]
    with torch.inference_mode():
        differences = [
            statistics.median(_seconds(fused) - _seconds(alone) for _ in range(4 * rounds))
            for fused, alone in pairs
        ]
    return 1e6 * sum(differences) / tokens


def table(lengths: Sequence[int], columns: Sequence[dict[str, float]]) -> str:
    """Lay out the microseconds of each row, and its share of the layer in percent."""
    totals = [sum(column[row] for row in ROWS) for column in columns]

    def line(name: str, row: str) -> str:
        cells = (
            f"{column[row]:7.2f} ({100 * column[row] / total:2.0f} %)"
            for column, total in zip(columns, totals, strict=True)
        )
        return f"{name:22}" + "".join(f"{cell:>16}" for cell in cells)

    lines = [f"{'tokens of an input':22}" + "".join(f"{length:>16}" for length in lengths)]
    for row in ROWS:
        if any(column[row] for column in columns):
            lines.append(line(row, row))
        if row == "products":
            lines.append(line("  of that GELU, sums", "GELU and sums"))
    lines.append(f"{'µs a token and layer':22}" + "".join(f"{total:>16.2f}" for total in totals))
    shares = "".join(f"{column['share']:>16.2f}" for column in columns)
    return "\n".join([*lines, f"{'share of the products':22}{shares}"])


def _batch(length: int, tokens: int) -> TokenBatch:
    random = np.random.default_rng(0)
    count = max(1, tokens // length)
    rows = random.integers(1_000, 20_000, (count, length)).astype(np.int32)
    return TokenBatch.of(list(rows))


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
