"""How near the encoder comes to the machine's own matrix products, by kind of text and threads.

``python -m benchmarks.encoder [--texts FILE]`` prints a table, then one JSON document as its last
line. The ceiling is torch's linear in the same number format, on the model's own shapes. It, the
encoder and sentence-transformers in float32 alternate, since the speed of a shared machine drifts;
a share or a ratio is that within a round, and the table has the medians. Tokenizing is left out of
the encoder's time, but not of that of sentence-transformers, where it is a small part.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks import ceiling
from benchmarks.reference import cosines
from benchmarks.texts import sample
from embedder.backends.torch.backend import TorchBackend
from embedder.backends.torch.kernels import supports_onednn
from embedder.backends.torch.microbatches import split_batch
from embedder.backends.torch.packed import row_count
from embedder.core.types import TokenBatch, Truncate, Vectors
from embedder.inference.loading import load_tokenizer
from embedder.models.files import ModelFiles
from embedder.pipeline.chunks import split
from embedder.settings.model import BackendSettings, ModelSettings

KINDS = {"short": (1, 10), "sentence": (16, 26), "mixed": (1, 10**9)}
"""The least and the most tokens of each kind of text, special tokens included."""

BUDGET = 2048
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Kind:
    """Some texts of one kind and their tokens, in batches as the service would form them."""

    name: str
    texts: list[str]
    batches: list[TokenBatch]

    @property
    def tokens(self) -> int:
        """Return how many tokens all texts have."""
        return sum(int(batch.lengths.sum()) for batch in self.batches)

    def padding_efficiency(self, threads: int) -> float:
        """Return the share of tokens in the rows that the linear layers compute."""
        rows = 0
        for batch in self.batches:
            pieces = split_batch(batch.lengths, threads)
            sizes = [int(batch.lengths[piece].sum()) for piece in pieces]
            rows += (
                sum(map(row_count, sizes)) if supports_onednn(torch.bfloat16, CPU) else sum(sizes)
            )
        return self.tokens / rows


@dataclass(slots=True)
class Row:
    """One kind of text with one number of threads; a figure of every list is that of one round."""

    kind: str
    threads: int
    tokens_a_text: float
    padding_efficiency: float
    cosine: float
    texts_per_s: list[float] = field(default_factory=list)
    gflops: list[float] = field(default_factory=list)
    share: list[float] = field(default_factory=list)
    ratio: list[float] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table and a JSON line."""
    options = _options(arguments)
    before = os.getloadavg()
    files = ModelFiles.open(ModelSettings(offline=True))
    texts = sample(16 * options.count, seed=options.seed, path=options.texts)
    kinds = list(_kinds(files, texts, options.count))
    peer = _peer(files)
    rows = [
        row
        for threads in options.threads
        for row in _measure(files, kinds, peer, threads=threads, rounds=options.rounds)
    ]
    _report(rows, options, before)
    return 0


def _kinds(files: ModelFiles, texts: Sequence[str], count: int) -> Iterator[Kind]:
    tokenizer = load_tokenizer(files)
    lengths = tokenizer.encode(texts, truncate=Truncate.END).tokens.lengths
    for name, (least, most) in KINDS.items():
        chosen = np.flatnonzero((lengths >= least) & (lengths <= most))[:count]
        of_kind = [texts[at] for at in chosen]
        tokens = tokenizer.encode(of_kind, truncate=Truncate.END).tokens
        yield Kind(name, of_kind, split(tokens, BUDGET))


def _peer(files: ModelFiles) -> Callable[[list[str]], Vectors]:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(files.weights[0].parent), device="cpu", local_files_only=True)
    return lambda texts: np.asarray(model.encode(texts, batch_size=32, show_progress_bar=False))


def _measure(
    files: ModelFiles,
    kinds: Sequence[Kind],
    peer: Callable[[list[str]], Vectors],
    *,
    threads: int,
    rounds: int,
) -> Iterator[Row]:
    """Let the three take turns, for every kind of text, once their vectors have been compared."""
    torch.set_num_threads(threads)
    settings = BackendSettings(device="cpu", dtype="auto", threads=threads)
    backend = TorchBackend.load(files, settings)
    products = ceiling.products(files.config, getattr(torch, backend.dtype))
    flop = ceiling.operations_a_token(files.config)
    for kind in kinds:
        exact = peer(kind.texts)
        cosine = float(cosines(_encode(backend, kind), exact).min())
        efficiency = kind.padding_efficiency(threads)
        row = Row(kind.name, threads, kind.tokens / len(kind.texts), efficiency, cosine)
        for number in range(rounds):
            most = ceiling.gflops(products, files.config)
            ours_s = _seconds(partial(_encode, backend, kind))
            peer_s = _seconds(partial(peer, kind.texts))
            row.texts_per_s.append(len(kind.texts) / ours_s)
            row.gflops.append(kind.tokens * flop / ours_s / 1e9)
            row.share.append(row.gflops[-1] / most)
            row.ratio.append(peer_s / ours_s)
            _say(f"{kind.name}, {threads} threads, round {number}: {row.texts_per_s[-1]:.0f}")
        yield row


def _encode(backend: TorchBackend, kind: Kind) -> Vectors:
    return np.concatenate([backend.encode(batch) for batch in kind.batches])


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def table(rows: Sequence[Row]) -> str:
    """Lay the rows out for people: medians, and the spread of the texts a second."""
    head = "kind      threads  tokens/text   texts/s        spread  GFLOP/s  share  ratio  padding"
    lines = [head + "  least cosine"]
    for row in rows:
        spread = f"{min(row.texts_per_s):.0f}–{max(row.texts_per_s):.0f}"
        lines.append(
            f"{row.kind:8}{row.threads:9}{row.tokens_a_text:13.1f}"
            f"{statistics.median(row.texts_per_s):10.0f}{spread:>14}"
            f"{statistics.median(row.gflops):9.0f}{statistics.median(row.share):7.2f}"
            f"{statistics.median(row.ratio):7.2f}{row.padding_efficiency:9.3f}{row.cosine:14.6f}"
        )
    return "\n".join(lines)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    cores = os.cpu_count() or 1
    parser = argparse.ArgumentParser(prog="benchmarks.encoder", description=__doc__)
    parser.add_argument("--texts", type=Path, help="a .jsonl[.gz] file with a key 'text'")
    parser.add_argument("--count", type=int, default=400, help="texts of each kind (400)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, cores}))
    return parser.parse_args(arguments)


def _report(rows: Sequence[Row], options: argparse.Namespace, before: Sequence[float]) -> None:
    machine = {
        "cpu": platform.machine(),
        "cores": os.cpu_count(),
        "load_before": round(before[0], 1),
        "load_after": round(os.getloadavg()[0], 1),
    }
    print(f"{options.count} texts a kind, median of {options.rounds} rounds, {machine}")
    print(table(rows))
    print(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
