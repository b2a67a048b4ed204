"""The source files that a request passes through in the ingress, and the calls that it makes there.

``python -m benchmarks.walks`` builds the service of one replica a stage in this process, with the
default model. The replicas run in the event loop of another thread, so that the profiler sees the
ingress alone. ``--files`` prints the calls by file.
A coroutine that is resumed counts as one call more, as `sys.setprofile` reports it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any, cast

import orjson
from starlette.types import ASGIApp

from benchmarks.asgi_client import post
from deployments.cache.replica import CacheReplica
from deployments.encoder.replica import EncoderReplica
from deployments.index.replica import IndexReplica
from deployments.ingress.asgi import build_asgi
from deployments.ingress.service.replicas import Handles
from deployments.ingress.service.service import Service
from deployments.rpc.handle_client import Handle
from deployments.settings.service import ServeSettings
from deployments.tokenizer.replica import TokenizerReplica

ROOT = Path(__file__).parents[1]
REPEATED = 3
"""Requests of a kind before those that are counted: the first ones make connections and pools."""

COUNTED = 5
"""Requests of a kind that are counted; the table has the one with the fewest calls, because a batch
of insertions into the cache may leave beside any other.
"""


class Walk:
    """A profiler that counts the calls of functions of this project, by file."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        """Count a call."""
        if event != "call":
            return
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT):
            name = str(path.relative_to(ROOT))
            if name.startswith(("embedder", "deployments")):
                self.calls[name] += 1


class StageThread:
    """An event loop in a thread of its own, where the replicas run."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def run(self, work: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
        """Run a coroutine there; await the result here."""
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def handle(self, replica: object) -> Handle:
        """Return an object that is called like the handle of a deployment with this replica."""
        return cast("Handle", _LocalHandle(self, replica))


class _LocalHandle:
    def __init__(self, thread: StageThread, replica: object) -> None:
        self._thread, self._replica = thread, replica

    def options(self, **_: object) -> _LocalHandle:
        return self

    def __getattr__(self, method: str) -> _LocalMethod:
        return _LocalMethod(self._thread, getattr(self._replica, method))


class _LocalMethod:
    def __init__(
        self, thread: StageThread, method: Callable[..., Coroutine[Any, Any, Any]]
    ) -> None:
        self._thread, self._method = thread, method

    def remote(self, *arguments: object) -> asyncio.Future[Any]:
        return self._thread.run(self._method(*arguments))


def main() -> None:
    """Count, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", action="store_true", help="print the calls of each file, too")
    shows_files = parser.parse_args().files
    rows = dict[str, Counter[str]]()
    for placement in ("colocated", "remote"):
        rows |= asyncio.run(walks(placement))
    print(f"{'request':48}{'files':>6}{'calls':>7}")
    for name, calls in rows.items():
        print(f"{name:48}{len(calls):6}{calls.total():7}")
        if shows_files:
            print(*(f"{'':8}{number:5} {path}" for path, number in sorted(calls.items())), sep="\n")
    sys.stdout.flush()
    os._exit(0)  # without waiting for the threads of the replicas


async def walks(placement: str) -> dict[str, Counter[str]]:
    """Return the calls of every kind of request, by file; ``placement`` is that of both stages."""
    app = build_asgi(await local_service(placement))
    numbers = count()

    def text() -> str:
        return f"text number {next(numbers)}"

    def upsert() -> tuple[str, Any]:
        point = {"id": text(), "text": text(), "metadata": {"n": next(numbers)}}
        return "/v1/collections/walks/points", {"points": [point]}

    def search() -> tuple[str, Any]:
        body = {"text": text(), "top_k": 2, "filter": {"n": {"$gte": 0}}}
        return "/v1/collections/walks/search", body

    where = "in the ingress" if placement == "colocated" else "through the stages"
    kinds = {
        f"embedding, {where}": lambda: ("/v1/embeddings", {"input": text()}),
        "embedding, cached": lambda: ("/v1/embeddings", {"input": "the same text"}),
        f"upsert of a text, {where}": upsert,
        f"search by text with a filter, {where}": search,
    }
    return {name: await _counted(app, kind) for name, kind in kinds.items()}


async def local_service(placement: str) -> Service:
    """Return the service of one replica a stage; those of other stages run in another thread."""
    settings = ServeSettings.model_validate(
        {
            "data_directory": None,
            "encoder": {"placement": placement},
            "tokenizer": {"placement": placement},
        }
    )
    models = {"models": [{**settings.model.model_dump(mode="json"), "pinned": True}]}
    thread = StageThread()
    cache, index = "EmbeddingCache-0", "VectorIndex-0"
    tokenizer, encoder = TokenizerReplica(settings), EncoderReplica(settings)
    shard, points = CacheReplica(settings, cache), IndexReplica(settings, index)
    await thread.run(tokenizer.reconfigure(models))
    await thread.run(encoder.reconfigure(models))
    await thread.run(shard.check_health())
    handles = Handles(
        thread.handle(tokenizer),
        {"Encoder": thread.handle(encoder)},
        {cache: thread.handle(shard)},
        {index: thread.handle(points)},
        thread.handle(None),
    )
    service = Service(settings, handles)
    service.configure(models)
    return service


async def _counted(app: ASGIApp, kind: Callable[[], tuple[str, Any]]) -> Counter[str]:
    for _ in range(REPEATED):
        path, body = kind()
        await post(app, path, orjson.dumps(body))
    counted = []
    for _ in range(COUNTED):
        path, body = kind()
        content = orjson.dumps(body)
        walk = Walk()
        sys.setprofile(walk)
        try:
            await post(app, path, content)
            await asyncio.sleep(0)  # callbacks of tasks that have ended belong to the request
        finally:
            sys.setprofile(None)
        counted.append(walk.calls)
    return min(counted, key=Counter.total)


if __name__ == "__main__":
    main()
