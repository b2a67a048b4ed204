"""How fast a GPU encodes with this library's forward pass, beside its own matrix products.

``python -m benchmarks.gpu`` from a checkout; torch, transformers and numpy are all it needs. It
draws the weights of five published shapes, compares vectors with float32 computed eagerly, and
measures a stream of batches, two in flight: token ids in the host's memory to float32 vectors in
the host's memory. The ceiling is torch's linear on the model's own matrices. It, the encoder and
its peer take turns; a share or a ratio is that within a round, and the table has the medians.
Forming batches and tokenizing are left out of the encoder's time. Each row ends with its share of
``--minutes``, after one round at least; a model that fails is reported, and the others go on.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from benchmarks.gpu_ceiling import Ceiling, seconds_of
from benchmarks.gpu_models import SHAPES, TINY, Encoder, Model, shape_of
from benchmarks.gpu_peers import BEGIN, END, SPECIAL, Peer, peer_of
from benchmarks.gpu_report import Found, Row, plain, table
from embedder.backends.precision import reduced_precision
from embedder.backends.torch.launcher import CONCURRENT_BATCHES
from embedder.core.types import TokenBatch


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table and a JSON line."""
    options = _options(arguments)
    device = torch.device(options.device)
    dtype = getattr(torch, options.dtype or reduced_precision(device) or "float32")
    budget = _Budget(60.0 * options.minutes, len(options.models) * len(options.lengths))
    found, failed = [], []
    for name in options.models:
        try:
            found.append(_measure(name, device, dtype, options, budget))
        except Exception as error:  # noqa: BLE001 - the figures of the other models are wanted
            failed.append(name)
            _say(f"{name} failed: {error!r}")
            budget.skip_to(len(found) + len(failed), len(options.lengths))
    machine = _machine(device, dtype)
    print(f"{machine}, {options.tokens} tokens or {options.items} texts a batch, ", end="")
    print(f"{CONCURRENT_BATCHES} in flight, {options.batches} batches, ", end="")
    print(f"median of up to {options.rounds} rounds")
    print(table(found))
    models = [plain(one) for one in found]
    print(json.dumps({"machine": machine, "models": models, "failed": failed}))
    return 1 if failed else 0


class _Budget:
    """Divides the seconds that are left by the rows that are left."""

    def __init__(self, seconds: float, rows: int) -> None:
        self._ends = time.perf_counter() + seconds
        self._rows, self._begun = rows, 0

    def row_ends(self) -> float:
        """Return when the next row has to end, by `time.perf_counter`."""
        now = time.perf_counter()
        left = max(1, self._rows - self._begun)
        self._begun += 1
        return now + max(0.0, self._ends - now) / left

    def skip_to(self, models: int, rows: int) -> None:
        """Leave out the rows of a model that failed: so many models are done."""
        self._begun = models * rows


def _measure(
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    options: argparse.Namespace,
    budget: _Budget,
) -> Found:
    """Measure one model with texts of every length."""
    model = Model.draw(name, device)
    encoder = Encoder.of(model, dtype, plain=options.plain)
    _say(f"{name}: cosine {encoder.cosine:.6f}; {encoder.kernels}")
    peer = peer_of(model, dtype)
    contest = _Contest(model, encoder, peer, Ceiling(model, dtype, options.tokens))
    rows = [
        contest.row(
            batches,
            rounds=options.rounds,
            ceiling_s=options.ceiling_s,
            ends=budget.row_ends(),
        )
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

    def row(
        self, batches: Sequence[TokenBatch], *, rounds: int, ceiling_s: float, ends: float
    ) -> Row:
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
                if time.perf_counter() >= ends:
                    break
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
            len(SPECIAL), shape_of(name)["words"], (options.batches, count, length), np.int32
        )
        rows[..., 0], rows[..., -1] = BEGIN, END
        lengths = np.full(count, length, np.int32)
        yield [TokenBatch(batch.reshape(-1), lengths) for batch in rows]


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
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--minutes", type=float, default=9.0, help="of all rows (9)")
    parser.add_argument("--lengths", type=int, nargs="+", default=[16, 50, 128, 512])
    parser.add_argument("--tokens", type=int, default=32_768, help="most of a batch (32,768)")
    parser.add_argument("--items", type=int, default=1024, help="most texts of a batch (1,024)")
    parser.add_argument("--batches", type=int, default=20, help="in a round (20)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ceiling-s", type=float, default=0.5, help="seconds of a round")
    parser.add_argument("--plain", action="store_true", help="leave out the fast kernels")
    parser.add_argument("--quick", action="store_true", help="tiny models, to see that it runs")
    options = parser.parse_args(arguments)
    if options.quick:
        options.models, options.lengths, options.tokens = list(TINY), [16, 50], 400
        options.batches, options.rounds, options.ceiling_s = 4, 2, 0.01
    return options


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
