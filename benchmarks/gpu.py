"""How fast a GPU encodes with this library's forward pass, beside its own matrix products.

``python -m benchmarks.gpu`` from a checkout; torch, transformers and numpy are all it needs. It
draws the weights of three published shapes, compares vectors with float32 computed eagerly, and
measures a stream of batches, two in flight: token ids in the host's memory to float32 vectors in
the host's memory. The ceiling is torch's linear on the model's own matrices. It, the encoder and
its peer take turns; a share or a ratio is that within a round, and the table has the medians.
Forming batches and tokenizing are left out of the encoder's time.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import statistics
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial

import numpy as np
import torch

from benchmarks.gpu_ceiling import Ceiling, seconds_of
from benchmarks.gpu_models import SHAPES, Encoder, Model
from benchmarks.gpu_peers import BEGIN, END, SPECIAL, Peer, peer_of
from embedder.backends.precision import reduced_precision
from embedder.backends.torch.launcher import CONCURRENT_BATCHES
from embedder.core.types import TokenBatch

PUBLISHED = {("bert-base", 50): 1_410_000, ("bert-base", 512): 1_635_000}
"""Tokens a second of Arctic Inference on one H200, by 32 replicas in a server (May 2025)."""


@dataclass(slots=True)
class Row:
    """One model with texts of one length; a figure of every list is that of one round."""

    model: str
    tokens_a_text: int
    texts_a_batch: int
    tokens_per_s: list[float] = field(default_factory=list)
    texts_per_s: list[float] = field(default_factory=list)
    teraflops: list[float] = field(default_factory=list)
    share: list[float] = field(default_factory=list)
    peer_tokens_per_s: list[float] = field(default_factory=list)
    ratio: list[float] = field(default_factory=list)

    @property
    def of_published(self) -> float | None:
        """Return the tokens a second by the most that was published for this model, if any was."""
        published = PUBLISHED.get((self.model, self.tokens_a_text))
        return statistics.median(self.tokens_per_s) / published if published else None


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of one model: ``cosine`` is the least to float32, ``apart`` of others."""

    model: str
    parameters: int
    kernels: str
    cosine: float
    apart: float
    peer: str
    rows: list[Row]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table and a JSON line."""
    options = _options(arguments)
    device = torch.device(options.device)
    dtype = getattr(torch, options.dtype or reduced_precision(device) or "float32")
    found = [_measure(name, device, dtype, options) for name in options.models]
    machine = _machine(device, dtype)
    print(f"{machine}, {options.tokens} tokens or {options.items} texts a batch, ", end="")
    print(f"{CONCURRENT_BATCHES} in flight, {options.batches} batches, ", end="")
    print(f"median of {options.rounds} rounds")
    print(table(found))
    print(json.dumps({"machine": machine, "models": [_plain(one) for one in found]}))
    return 0


def _measure(
    name: str, device: torch.device, dtype: torch.dtype, options: argparse.Namespace
) -> Found:
    """Measure one model with texts of every length."""
    model = Model.draw(name, device)
    encoder = Encoder.of(model, dtype, plain=options.plain)
    _say(f"{name}: cosine {encoder.cosine:.6f}; {encoder.kernels}")
    peer = peer_of(model, dtype)
    contest = _Contest(model, encoder, peer, Ceiling(model, dtype, options.tokens))
    rows = [
        contest.row(batches, rounds=options.rounds, ceiling_s=options.ceiling_s)
        for batches in _streams(name, options)
    ]
    agreed = (encoder.kernels, encoder.cosine, encoder.apart)
    return Found(name, model.parameters, *agreed, peer.name, rows)


@dataclass(frozen=True, slots=True)
class _Contest:
    """The encoder and the peer that take turns with one model on one device."""

    model: Model
    encoder: Encoder
    peer: Peer
    ceiling: Ceiling

    def row(self, batches: Sequence[TokenBatch], *, rounds: int, ceiling_s: float) -> Row:
        row = Row(self.model.name, int(batches[0].lengths[0]), len(batches[0]))
        texts = sum(map(len, batches))
        tokens = texts * row.tokens_a_text
        with ThreadPoolExecutor(CONCURRENT_BATCHES) as pool:
            ours = partial(_all, pool, self.encoder, batches)
            _all(pool, self.encoder, batches[: 2 * CONCURRENT_BATCHES])
            self.peer.encode(batches[:1])
            for number in range(rounds):
                most = self.ceiling.teraflops(ceiling_s)
                ours_s = seconds_of(ours)
                peer_s = seconds_of(partial(self.peer.encode, batches))
                row.tokens_per_s.append(tokens / ours_s)
                row.texts_per_s.append(texts / ours_s)
                row.teraflops.append(tokens * self.model.flop / ours_s / 1e12)
                row.share.append(row.teraflops[-1] / most)
                row.peer_tokens_per_s.append(tokens / peer_s)
                row.ratio.append(peer_s / ours_s)
                said = f"{row.model}, {row.tokens_a_text} tokens, round {number}"
                _say(f"{said}: {row.tokens_per_s[-1]:.0f} tokens/s, {row.share[-1]:.2f}")
        return row


def _all(pool: ThreadPoolExecutor, encoder: Encoder, batches: Sequence[TokenBatch]) -> None:
    for _ in pool.map(encoder.launcher.encode, batches):
        pass


def _streams(name: str, options: argparse.Namespace) -> Iterator[list[TokenBatch]]:
    """Give batches of texts of each length, as many as the service puts into one."""
    random = np.random.default_rng(0)
    for length in options.lengths:
        count = max(1, min(options.items, options.tokens // length))
        rows = random.integers(
            len(SPECIAL), SHAPES[name]["words"], (options.batches, count, length), np.int32
        )
        rows[..., 0], rows[..., -1] = BEGIN, END
        lengths = np.full(count, length, np.int32)
        yield [TokenBatch(batch.reshape(-1), lengths) for batch in rows]


def table(found: Sequence[Found]) -> str:
    """Lay out for people: medians, and the spread of the tokens a second, in thousands."""
    head = f"{'model':11}{'tokens/text':>12}{'texts/batch':>12}{'texts/s':>10}{'ktokens/s':>11}"
    head += f"{'spread':>16}{'TFLOP/s':>9}{'share':>7}{'ratio':>7}{'of published':>14}"
    lines = [head, *(_line(row) for one in found for row in one.rows)]
    for one in found:
        lines.append(f"{one.model}: {one.parameters / 1e6:.1f} M weights, {one.kernels};")
        lines.append(f"  least cosine {one.cosine:.6f} to float32, {one.apart:.3f} among others")
        lines.append(f"  ratio: to {one.peer}")
    lines.append("share: of the device's own matrix products, attention not counted")
    if any(row.of_published for one in found for row in one.rows):
        lines.append("of published: 32 replicas in a server on an H200; ours is without a server")
    return "\n".join(lines)


def _line(row: Row) -> str:
    least, most = min(row.tokens_per_s) / 1e3, max(row.tokens_per_s) / 1e3
    texts, tokens = statistics.median(row.texts_per_s), statistics.median(row.tokens_per_s)
    published = "-" if row.of_published is None else f"{row.of_published:.2f}"
    return (
        f"{row.model:11}{row.tokens_a_text:12}{row.texts_a_batch:12}"
        f"{texts:10.0f}{tokens / 1e3:11.1f}"
        f"{f'{least:.1f}–{most:.1f}':>16}{statistics.median(row.teraflops):9.1f}"
        f"{statistics.median(row.share):7.2f}{statistics.median(row.ratio):7.2f}{published:>14}"
    )


def _plain(found: Found) -> dict[str, object]:
    """Return a value for JSON, which has no NaN."""
    plain = asdict(found)
    plain["cosine"] = found.cosine if np.isfinite(found.cosine) else None
    for row, described in zip(found.rows, plain["rows"], strict=True):
        described["of_published"] = row.of_published
    return plain


def _machine(device: torch.device, dtype: torch.dtype) -> dict[str, object]:
    gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if gpu else platform.machine(),
        "dtype": str(dtype).removeprefix("torch."),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if gpu else None,
        "transformers": importlib.metadata.version("transformers"),
    }


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"))
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=list(SHAPES)[:3])
    parser.add_argument("--lengths", type=int, nargs="+", default=[16, 50, 128, 512])
    parser.add_argument("--tokens", type=int, default=32_768, help="most of a batch (32,768)")
    parser.add_argument("--items", type=int, default=1024, help="most texts of a batch (1,024)")
    parser.add_argument("--batches", type=int, default=60, help="in a round (60)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ceiling-s", type=float, default=0.5, help="seconds of a round")
    parser.add_argument("--plain", action="store_true", help="leave out the fast kernels")
    parser.add_argument("--quick", action="store_true", help="a tiny model, to see that it runs")
    options = parser.parse_args(arguments)
    if options.quick:
        options.models, options.lengths, options.tokens = ["tiny"], [16, 50], 400
        options.batches, options.rounds, options.ceiling_s = 4, 2, 0.01
    return options


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
