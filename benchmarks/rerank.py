"""The speed of a cross-encoder beside sentence-transformers' on the same pairs.

``python -m benchmarks.rerank`` writes a cross-encoder with the shape of MiniLM-L6 and random
weights into a temporary folder, and scores a query with 100 texts: of 128 tokens each (``equal``),
and of 64 to 192 tokens (``mixed``). It prints a table, then one JSON document as its last line.

The library and the peer take turns, and each turn of ``mixed`` has other lengths. The first turn
has its own columns, because in bfloat16 it also compiles kernels for shapes that are new to the
process.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.reference import spearman
from benchmarks.texts import WORDS
from embedder import EmbedderSettings, EmbeddingGenerator, Pair
from embedder.models.files import ModelFiles
from embedder.settings.cache import CacheSettings
from embedder.settings.model import BackendSettings, ModelSettings

KINDS = {"equal": (128, 128), "mixed": (64, 192)}
"""The least and the most tokens of the texts of each kind, without the query and special tokens."""

QUERY_WORDS = 8

MINILM: Mapping[str, Any] = {
    "hidden_size": 384,
    "intermediate_size": 1536,
    "num_attention_heads": 12,
    "num_hidden_layers": 6,
    "vocab_size": 30_522,
    "max_position_embeddings": 512,
    "num_labels": 1,
}
"""The shape of ms-marco-MiniLM-L6-v2."""

WEIGHT_SCALE = 0.06
"""The standard deviation of the weights, with which scores differ from text to text."""

Scores = NDArray[np.float32]
Scorer = Callable[[str, list[str]], Scores]


@dataclass(slots=True)
class Row:
    """One kind of text: pairs per second of each turn, and the least agreement of any turn."""

    kind: str
    rank_correlation: float = 1.0
    ours: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """Return how many times as fast the library is, turn by turn, without the first."""
        return [ours / peer for ours, peer in zip(self.ours[1:], self.peer[1:], strict=True)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table and a JSON line, and return the exit status."""
    options = _options(arguments)
    torch.set_num_threads(options.threads)
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder))
        with _generator(folder, options.threads, options.dtype) as ours:
            peer = _peer(folder)
            rows = [
                _measure(kind, _scorer(ours), peer, options.count, options.rounds) for kind in KINDS
            ]
            dtype = ours.model.dtype
    machine = {
        "cores": os.cpu_count(),
        "threads": options.threads,
        "dtype": dtype,
        "load_before": round(before, 1),
        "load_after": round(os.getloadavg()[0], 1),
    }
    print(f"{options.count} texts, medians of {options.rounds} turns after the first, {machine}")
    print(table(rows))
    print(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}))
    return 0


def write_model(folder: Path, **config: object) -> None:
    """Write a cross-encoder with random weights and the tokenizer of the default model.

    ``config`` replaces entries of `MINILM`.
    """
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    described = BertConfig(**{**MINILM, "initializer_range": WEIGHT_SCALE, **config})
    BertForSequenceClassification(described).save_pretrained(folder)
    tokenizer = ModelFiles.open(ModelSettings(offline=True)).weights[0].parent
    for name in ("special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copy(tokenizer / name, folder)


def made_up(kind: str, count: int, *, seed: int) -> tuple[str, list[str]]:
    """Return a query and ``count`` texts of a kind, of words of one token each."""
    source = random.Random(seed)
    least, most = KINDS[kind]
    texts = [" ".join(source.choices(WORDS, k=source.randint(least, most))) for _ in range(count)]
    return " ".join(source.choices(WORDS, k=QUERY_WORDS)), texts


def _generator(folder: str, threads: int, dtype: str) -> EmbeddingGenerator:
    backend = BackendSettings.model_validate({"device": "cpu", "dtype": dtype, "threads": threads})
    cache = CacheSettings(max_bytes=0)
    settings = EmbedderSettings(model=ModelSettings(name=folder), backend=backend, cache=cache)
    return EmbeddingGenerator(settings=settings)


def _scorer(generator: EmbeddingGenerator) -> Scorer:
    def score(query: str, texts: list[str]) -> Scores:
        return generator.classify([Pair(query, text) for text in texts], raw_scores=True)[:, 0]

    return score


def _peer(folder: str) -> Scorer:
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(folder, device="cpu", local_files_only=True)
    identity = torch.nn.Identity()

    def score(query: str, texts: list[str]) -> Scores:
        pairs = [(query, text) for text in texts]
        return np.asarray(model.predict(pairs, activation_fn=identity, show_progress_bar=False))

    return score


def _measure(kind: str, ours: Scorer, peer: Scorer, count: int, rounds: int) -> Row:
    """Let the two take turns."""
    row = Row(kind)
    for turn in range(rounds + 1):
        pairs = made_up(kind, count, seed=turn)
        scores = []
        for scorer, rates in ((ours, row.ours), (peer, row.peer)):
            began = time.perf_counter()
            scores.append(scorer(*pairs))
            rates.append(count / (time.perf_counter() - began))
        row.rank_correlation = min(row.rank_correlation, spearman(*scores))
        print(f"{kind}, turn {turn}: {row.ours[-1]:.0f}, {row.peer[-1]:.0f}", file=sys.stderr)
    return row


def table(rows: Sequence[Row]) -> str:
    """Lay the rows out for people: medians, and the spread of the ratio."""
    lines = ["kind   pairs/s  peer  ratio       spread  first: pairs/s  peer  rank correlation"]
    for row in rows:
        spread = f"{min(row.ratios):.2f}–{max(row.ratios):.2f}"
        lines.append(
            f"{row.kind:6}{statistics.median(row.ours[1:]):8.0f}"
            f"{statistics.median(row.peer[1:]):6.0f}{statistics.median(row.ratios):7.2f}"
            f"{spread:>13}{row.ours[0]:16.0f}{row.peer[0]:6.0f}{row.rank_correlation:18.4f}"
        )
    return "\n".join(lines)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.rerank", description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="texts of a request (100)")
    parser.add_argument("--rounds", type=int, default=5, help="turns after the first (5)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--dtype", default="auto", help="auto, float32 or bfloat16 (auto)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
