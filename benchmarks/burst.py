"""Many calls at once beside the same calls a few at a time, by OpenAI's client with its defaults.

Each call has 64 short texts that no other call has. The clients retry as they do by themselves.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import openai
from openai import AsyncOpenAI

from benchmarks.service import measured_service
from benchmarks.texts import sample


def main() -> None:
    """Measure, and print a JSON line for each concurrency."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="of a running service, in place of one of its own")
    parser.add_argument("--config", type=Path, default=Path("serve_config.yaml"))
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--texts", type=int, default=64, help="in one call")
    parser.add_argument("--retries", type=int, default=openai.DEFAULT_MAX_RETRIES)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    with measured_service(options.url, options.config) as url:
        asyncio.run(_measure(f"{url}/v1", options))


async def _measure(url: str, options: argparse.Namespace) -> None:
    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=options.retries) as client:
        texts = iter(sample(options.calls * options.texts * (2 * options.rounds + 1), seed=1))
        await _calls(client, texts, 8, options)
        for _ in range(options.rounds):
            for concurrency in (4, options.calls):
                seconds, failed = await _calls(client, texts, concurrency, options)
                print(json.dumps({"c": concurrency, "seconds": seconds, "failed": failed}))


async def _calls(
    client: AsyncOpenAI, texts: Iterator[str], concurrency: int, options: argparse.Namespace
) -> tuple[float, int]:
    """Return how many seconds all calls took, and how many failed."""
    bodies = [
        [f"{text} {at}" for at, text in enumerate(islice(texts, options.texts))]
        for _ in range(options.calls)
    ]
    failed = 0

    async def worker() -> None:
        nonlocal failed
        while bodies:
            try:
                await client.embeddings.create(model="all-MiniLM-L6-v2", input=bodies.pop())
            except openai.APIError:
                failed += 1

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return time.perf_counter() - began, failed


if __name__ == "__main__":
    main()
