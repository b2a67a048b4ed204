"""Compare models by quality on scored pairs of sentences, speed and memory: a table and a plot.

Usage: python examples/compare.py [MODEL[@DTYPE] ...]    (a model is an alias or a directory)
"""

import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from embedder import EmbedderSettings, EmbeddingGenerator

lines = (Path(__file__).parent / "pairs.tsv").read_text().splitlines()
scores, one, other = zip(*(line.split("\t") for line in lines), strict=True)
human = np.array(scores, float)


def ranks(values: np.ndarray) -> list[float]:
    """Return the rank of every value, the mean rank where some are equal."""
    return [(values < value).sum() + (values == value).sum() / 2 for value in values]


for name in sys.argv[1:] or [f"all-MiniLM-L6-v2@{d}" for d in ("float32", "bfloat16", "int8")]:
    model, _, dtype = name.partition("@")
    settings = EmbedderSettings.model_validate({"backend": {"dtype": dtype or "auto"}})
    with EmbeddingGenerator(model, settings=settings) as generator:
        began = time.perf_counter()
        a, b = generator.embed(one), generator.embed(other)
        speed = 2 * len(lines) / (time.perf_counter() - began)
        rho = np.corrcoef(ranks((a * b).sum(1)), ranks(human))[0, 1]
        mib = generator.model.memory_bytes / 2**20
    print(f"{name:32} Spearman {rho:.3f}  {speed:6.0f} texts/s  {mib:6.1f} MiB")
    plt.scatter(speed, rho, s=mib)
    plt.annotate(Path(name).name, (speed, rho))

plt.gca().set(xlabel="texts/s", ylabel="Spearman (area: memory)")
plt.savefig("comparison.png")
