"""Embed every line of a file, however long it is, into one .npy file, with progress.

Usage: python examples/batch.py [TEXT_FILE [VECTORS.npy]]    (without: 2,000 made-up lines)
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from embedder import EmbeddingGenerator


def lines() -> Iterator[str]:
    """Yield the texts one by one: the file need not fit into memory."""
    if len(sys.argv) > 1:
        with Path(sys.argv[1]).open() as file:
            yield from (line.strip() for line in file if line.strip())
    else:
        yield from (f"Line {number} is about the number {number * 7}." for number in range(2000))


out = Path(sys.argv[2] if len(sys.argv) > 2 else "vectors.npy")
total = sum(1 for _ in lines())

with EmbeddingGenerator() as generator:
    shape = (total, generator.model.width)
    vectors = np.lib.format.open_memmap(out, mode="w+", dtype=np.float32, shape=shape)
    for row, vector in enumerate(generator.embed_stream(lines(), total=total, show_progress=True)):
        vectors[row] = vector
    vectors.flush()
    stats = generator.stats()

print(f"{out}: {total} × {shape[1]}")
print(f"{stats.tokens_per_s:,.0f} tokens/s, batches of up to {stats.batching.budget_tokens} tokens")
