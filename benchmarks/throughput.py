"""Embeddings a second: over HTTP, in process, and by sentence-transformers, in one run.

Everything embeds texts of one sample, a part of its own for each measurement, so no cache ever
has an answer. The contenders alternate, since the speed of a shared machine drifts; the table
gives the median of the rounds and their spread, and the last line is one JSON document.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp

from benchmarks.service import measured_service
from benchmarks.texts import sample
from embedder import EmbedderSettings, EmbeddingGenerator
from embedder.config import CacheSettings, ModelSettings

Contender = Callable[[list[str]], None]
"""Embeds all texts, and returns when the last vector is there."""


@dataclass(frozen=True, slots=True)
class Row:
    """One contender's rounds."""

    name: str
    texts_per_s: list[float]

    @property
    def median(self) -> float:
        """Return the median of the rounds."""
        return statistics.median(self.texts_per_s)


def main() -> None:
    """Measure, and print a table and a JSON line."""
    options = _options()
    with ExitStack() as stack:
        contenders = _contenders(stack, options.config)
        needed = options.count * len(contenders) * (options.rounds + 1)
        texts = iter(sample(needed, seed=options.seed, path=options.texts))
        rows = {name: Row(name, []) for name in contenders}
        for number in range(options.rounds + 1):
            for name, contender in contenders.items():
                part = [next(texts) for _ in range(options.count)]
                began = time.perf_counter()
                contender(part)
                rate = options.count / (time.perf_counter() - began)
                print(f"round {number} {name}: {rate:.0f}", file=sys.stderr)
                if number > 0:  # the first round warms up
                    rows[name].texts_per_s.append(rate)
    _report(list(rows.values()), options.count)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=Path, help="a .jsonl[.gz] file with a key 'text'")
    parser.add_argument("--count", type=int, default=1000, help="texts a measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config", type=Path, default=Path("serve_config.yaml"))
    return parser.parse_args()


def _contenders(stack: ExitStack, config: Path) -> dict[str, Contender]:
    from sentence_transformers import SentenceTransformer

    from embedder.models.weights import locate

    url = stack.enter_context(measured_service(None, config))
    settings = EmbedderSettings(cache=CacheSettings(max_bytes=0))
    generator = stack.enter_context(EmbeddingGenerator(settings=settings))
    peer = SentenceTransformer(str(locate(ModelSettings(offline=True)).directory), device="cpu")
    return {
        "sentence-transformers, in process, float32": lambda texts: _discard(
            peer.encode(texts, batch_size=32)
        ),
        f"embedder, in process, {generator.model.dtype}": lambda texts: _discard(
            generator.embed(texts)
        ),
        "embedder, HTTP, 32 texts a request, c=4": _over_http(url, size=32, clients=4),
        "embedder, HTTP, 1 text a request, c=32": _over_http(url, size=1, clients=32),
    }


def _over_http(url: str, *, size: int, clients: int) -> Contender:
    """Return a closed loop: each client sends its next request when it has its answer."""

    async def client(session: aiohttp.ClientSession, parts: Iterator[list[str]]) -> None:
        for part in parts:
            body = {"input": part, "encoding_format": "base64"}
            async with session.post(f"{url}/v1/embeddings", json=body) as answer:
                answer.raise_for_status()
                await answer.read()

    async def embed(texts: list[str]) -> None:
        parts = iter([texts[at : at + size] for at in range(0, len(texts), size)])
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(*(client(session, parts) for _ in range(clients)))

    return lambda texts: asyncio.run(embed(texts))


def _discard(vectors: object) -> None:
    """Keep nothing: the time is what counts."""


def _report(rows: list[Row], count: int) -> None:
    machine = {"cpu": platform.machine(), "cores": os.cpu_count(), "system": platform.system()}
    base = rows[0].median
    print(f"{count} texts a measurement, median of {len(rows[0].texts_per_s)} rounds, {machine}")
    print(f"{'':46}{'texts/s':>9}{'spread':>16}{'ratio':>8}")
    for row in rows:
        spread = f"{min(row.texts_per_s):.0f}–{max(row.texts_per_s):.0f}"
        print(f"{row.name:46}{row.median:9.0f}{spread:>16}{row.median / base:8.2f}")
    print(json.dumps({"machine": machine, "count": count, "rows": [asdict(row) for row in rows]}))


if __name__ == "__main__":
    main()
