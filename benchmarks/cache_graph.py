"""What an answer from the cache costs through the whole graph, beside an ingress that does nothing.

One client that waits for each answer, over one connection: a no-op (``GET /healthz``), a request
of one hop (``GET /v1/collections``), and one text that the cache has. The service runs twice:
as it is, when the cache inside the ingress answers, and without that one, when a shard does. The
kinds of request alternate in short rounds, since the speed of a shared machine drifts.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.service import measured_service
from benchmarks.texts import sample

NEAR = "EMBEDDER_CACHE__LOCAL_BYTES"
TEXTS = 64


class Client:
    """One connection that is kept open."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        assert address.hostname is not None
        self._connection = http.client.HTTPConnection(address.hostname, address.port)

    def get(self, path: str) -> float:
        """Return the seconds until the whole answer was there."""
        return self._send("GET", path, None)

    def embed(self, texts: list[str]) -> float:
        """Return the seconds until all vectors were there."""
        body = json.dumps({"input": texts, "encoding_format": "base64"})
        return self._send("POST", "/v1/embeddings", body)

    def _send(self, method: str, path: str, body: str | None) -> float:
        began = time.perf_counter()
        self._connection.request(method, path, body, {"content-type": "application/json"})
        answer = self._connection.getresponse()
        content = answer.read()
        seconds = time.perf_counter() - began
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {content[:200]!r}")
        return seconds


def main() -> None:
    """Measure, and print a table and a JSON line."""
    options = _options()
    figures = {}
    for name, local_bytes in (("the ingress's own cache", None), ("a shard", "0")):
        with _environment(local_bytes), measured_service(None, options.config) as url:
            figures[name] = _measure(Client(url), options)
    print(f"{'p50 of one client, ms':26}{'no-op':>8}{'one hop':>9}{'cached':>8}{'ratio':>7}")
    for name, (noop, hop, cached) in figures.items():
        print(f"{name:26}{noop:8.2f}{hop:9.2f}{cached:8.2f}{cached / noop:7.2f}")
    _, (noop, hop, cached) = figures.popitem()
    print(f"a hit in a shard takes {(cached - noop) / (hop - noop):.2f} of what a hop adds")
    print(json.dumps({"near": figures, "shard": {"noop": noop, "hop": hop, "cached": cached}}))


def _measure(client: Client, options: argparse.Namespace) -> tuple[float, float, float]:
    """Return the medians in milliseconds: of a no-op, of a hop, and of a cached text."""
    texts = sample(TEXTS, seed=options.seed)
    for text in texts:
        client.embed([text])
    time.sleep(1.0)  # inserts are not waited for
    at = iter(range(10**9))
    kinds: list[Callable[[], float]] = [
        lambda: client.get("/healthz"),
        lambda: client.get("/v1/collections"),
        lambda: client.embed([texts[next(at) % TEXTS]]),
    ]
    seconds: list[list[float]] = [[], [], []]
    for number in range(options.rounds + 1):
        for kind, taken in zip(kinds, seconds, strict=True):
            part = [kind() for _ in range(options.requests)]
            if number > 0:  # the first round warms up
                taken += part
    noop, hop, cached = (statistics.median(taken) * 1000 for taken in seconds)
    return noop, hop, cached


@contextmanager
def _environment(local_bytes: str | None) -> Iterator[None]:
    """Set the variable that the service reads, or leave it out, for a while."""
    if local_bytes is not None:
        os.environ[NEAR] = local_bytes
    try:
        yield
    finally:
        os.environ.pop(NEAR, None)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("serve_config.yaml"))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--requests", type=int, default=50, help="of a kind in one round")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
