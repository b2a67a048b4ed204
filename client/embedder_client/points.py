"""The calls of one collection: points stored, searched and deleted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from embedder_client import answers
from embedder_client.embedding import Embedding, Progress
from embedder_client.errors import ServiceError
from embedder_client.results import Hits, Point, Upserted
from embedder_client.transport import Request

MAX_POINTS = 512
"""The most points of one request; a service takes 2,048."""

MAX_BYTES = 4 << 20
"""About the most bytes of one; a service takes 16 MiB."""

WRITES = 4
"""Upserts in flight: the index commits what waits together, so more gain nothing."""


class AsyncCollection:
    """The collection ``name`` of a service."""

    def __init__(self, embedding: Embedding, name: str) -> None:
        self.name = name
        self._embedding = embedding
        self._path = f"v1/collections/{quote(name, safe='')}"

    async def create(self, **fields: Any) -> dict[str, Any]:
        """Create the collection, or return that of this name; ``fields`` are those of ``PUT``.

        The first upsert creates it too, with the metric "cosine".

        Raises:
            ClientError: as `Transport.send`.
        """
        return dict(await self._send("PUT", "", fields))

    async def info(self) -> dict[str, Any]:
        """Return the description of the collection.

        Raises:
            NotFound: there is none.
            ClientError: as `Transport.send`.
        """
        return dict(await self._send("GET", ""))

    async def drop(self) -> None:
        """Delete the collection with its points.

        Raises:
            NotFound: there is none.
            ClientError: as `Transport.send`.
        """
        await self._send("DELETE", "")

    async def upsert(
        self,
        points: Iterable[Point | Mapping[str, Any]],
        *,
        chunking: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> Upserted:
        """Insert or replace points; a mapping has the fields of a point over HTTP.

        Points travel in several requests, of which each is stored as a whole or not at all. Once
        this returns, all of them are on the disk of the service. Of points with the same id, the
        last one stays. ``chunking`` splits each text into chunks, which are stored as points.

        Raises:
            ClientError: as `Transport.send`; requests before the failed one may be stored. If the
                service refuses a point, `ServiceError.position` is its place in ``points``.
        """
        more = {} if chunking is None else {"chunking": dict(chunking)}
        writes: set[asyncio.Task[Upserted]] = set()
        done: list[Upserted] = []
        written: set[str] = set()
        first = 0
        try:
            for batch in _batches(points):
                ids = {point["id"] for point in batch}
                # A later point with the same id must not overtake an earlier one.
                while len(writes) >= (1 if ids & written else WRITES):
                    done.append(await _first(writes))
                written = ids | (written if writes else set())
                call = self._upsert({"points": batch, **more}, first, progress)
                writes.add(asyncio.create_task(call))
                first += len(batch)
            while writes:
                done.append(await _first(writes))
        finally:
            await _cancel(writes)
        return Upserted(
            sum(one.count for one in done), max((one.sequence for one in done), default=0)
        )

    async def search(self, text: str | None = None, **fields: Any) -> Hits:
        """Return the points nearest to a text; ``fields`` are those of a search over HTTP.

        They are ``vector`` (float32[width]) or ``id`` in place of the text, ``top_k``, ``filter``,
        ``hybrid``, ``rerank``, ``include`` and others. ``vector`` may be an array.

        Raises:
            ClientError: as `Transport.send`.
        """
        body = _query({"text": text} | fields if text is not None else fields)
        return answers.hits(await self._embedding.post(f"{self._path}/search", body))

    async def search_many(
        self, queries: Sequence[str | Mapping[str, Any]], **fields: Any
    ) -> list[Hits]:
        """Return the hits of each query, a text or the fields of one; ``fields`` are for all.

        Raises:
            ClientError: as `Transport.send`.
        """
        rows = [_query({"text": one} if isinstance(one, str) else dict(one)) for one in queries]
        shared = {
            name: fields.pop(name)
            for name in ("model", "complete", "consistency")
            if name in fields
        }
        body = shared | {"queries": [_query(fields) | row for row in rows]}
        return answers.many_hits(await self._embedding.post(f"{self._path}/search", body))

    async def fetch(self, ids: Sequence[str], **fields: Any) -> list[Point]:
        """Return the points of the ids, in their order; missing ones are left out.

        ``include`` names the fields to return, by default text and metadata.

        Raises:
            ClientError: as `Transport.send`.
        """
        body = {"ids": list(ids), "include": ["text", "metadata"]} | fields
        answer = await self._send("POST", "/points/fetch", body)
        return answers.points(answer)

    async def scroll(self, **fields: Any) -> AsyncIterator[Point]:
        """Yield all points, or those of a ``filter``, in the order of their insertion.

        ``include`` names the fields to return, by default text and metadata; ``limit`` is the
        number of points of one request.

        Raises:
            ClientError: as `Transport.send`.
        """
        body = {"include": ["text", "metadata"]} | fields
        while True:
            answer = await self._send("POST", "/points/scroll", body)
            for point in answers.points(answer):
                yield point
            if answer.get("cursor") is None:
                return
            body["cursor"] = answer["cursor"]

    async def count(self, filter: Mapping[str, Any] | None = None) -> int:
        """Return the number of points, or of those that match a filter.

        Raises:
            ClientError: as `Transport.send`.
        """
        body = {} if filter is None else {"filter": filter}
        return int((await self._send("POST", "/points/count", body))["count"])

    async def delete(
        self,
        ids: Sequence[str] | None = None,
        *,
        documents: Sequence[str] | None = None,
        filter: Mapping[str, Any] | None = None,
    ) -> int:
        """Delete points by id, by document or by filter, and return how many were there.

        Raises:
            ClientError: as `Transport.send`.
        """
        given = {"ids": ids, "documents": documents, "filter": filter}
        body = {name: value for name, value in given.items() if value is not None}
        return int((await self._send("POST", "/points/delete", body))["deleted"])

    async def _upsert(
        self, body: dict[str, Any], first: int, progress: Progress | None
    ) -> Upserted:
        """Store the points of one request, of which ``first`` is the position in the call."""
        try:
            answer = await self._embedding.post(f"{self._path}/points", body)
        except ServiceError as error:
            error.move(first)
            raise
        if progress is not None:
            progress(len(body["points"]))
        return Upserted(int(answer["upserted"]), int(answer["sequence"]))

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        request = Request(method, self._path + path, body)
        return await self._embedding.transport.send(request)


async def _first(writes: set[asyncio.Task[Upserted]]) -> Upserted:
    """Wait for one of the writes, remove it and return its result."""
    done, _ = await asyncio.wait(writes, return_when=asyncio.FIRST_COMPLETED)
    task = done.pop()
    writes.discard(task)
    return task.result()


async def _cancel(writes: set[asyncio.Task[Upserted]]) -> None:
    for task in writes:
        task.cancel()
    await asyncio.gather(*writes, return_exceptions=True)


def _batches(points: Iterable[Point | Mapping[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield the points in order, in lists of one request; each id is in a list once."""
    batch: dict[str, dict[str, Any]] = {}
    filled = 0
    for point in points:
        fields = _fields(point)
        size = 64 + len(fields.get("text") or "") + len(fields.get("vector") or ())
        full = len(batch) == MAX_POINTS or filled + size > MAX_BYTES
        if batch and (full or fields["id"] in batch):
            yield list(batch.values())
            batch, filled = {}, 0
        batch[fields["id"]] = fields
        filled += size
    if batch:
        yield list(batch.values())


def _fields(point: Point | Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a point over HTTP, with its vector in base64."""
    if isinstance(point, Point):
        fields: dict[str, Any] = {"id": point.id, "text": point.text, "vector": point.vector}
        fields["metadata"] = dict(point.metadata) or None
        fields = {name: value for name, value in fields.items() if value is not None}
        return _query(fields)
    return _query(dict(point))


def _query(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields with a vector in base64, where it is not text yet."""
    vector = fields.get("vector")
    if vector is None or isinstance(vector, str):
        return dict(fields)
    return dict(fields) | {"vector": answers.base64_of(vector)}
