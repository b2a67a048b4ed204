"""One request after another: for every route the bodies that it takes, and some that it refuses."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tests.fuzz import values

COLLECTION = "kept"
"""The collection of the points that clients look for."""

SCRATCH = ("scratch-1", "scratch-2")
"""Collections that any client may delete, so their points are never looked for."""

MISMATCHED = 0.15
"""The share of requests of which one field is replaced by any value."""


@dataclass(slots=True)
class Request:
    """One request; ``body`` is what is sent."""

    method: str
    path: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


Make = Callable[[random.Random], Request]


def request(method: str, path: str, body: Any = None, **headers: str) -> Request:
    """Return a request with a body of JSON, if any."""
    if body is None:
        return Request(method, path, headers=headers)
    content = json.dumps(body).encode()
    return Request(method, path, content, {"content-type": "application/json", **headers})


def choose(source: random.Random) -> Request:
    """Return some request of some route, which the service may answer or refuse."""
    made = source.choice(MAKERS)(source)
    if made.body is not None and source.random() < MISMATCHED:
        made.body = _spoilt(source, made.body)
    if source.random() < 0.3:
        made.headers["x-request-timeout"] = str(source.choice([1, 5, 20]))
    if source.random() < 0.05:
        made.headers["x-request-timeout"] = source.choice(["nan", "inf", "-1", "1e400", "0x10", ""])
    if source.random() < 0.2:
        made.headers["x-request-id"] = quote(values.text(source, 40))
    return made


def _texts(source: random.Random) -> list[str]:
    few = [values.text(source, 300) or "a" for _ in range(source.randrange(1, 6))]
    kind = source.random()
    if kind < 0.03:
        return few * 200
    if kind < 0.05:
        return [*few, "word " * source.randrange(4000)]
    return few


def _embeddings(source: random.Random) -> Request:
    body: dict[str, Any] = {"input": _texts(source)}
    if source.random() < 0.2:
        body["input"] = [[source.randrange(30522) for _ in range(source.randrange(1, 300))]]
    fields: dict[str, list[Any]] = {
        "encoding_format": ["float", "base64", None],
        "input_type": ["query", "passage", None],
        "truncate": ["end", "start", "none", None],
        "output_dtype": ["float32", "int8", "ubinary", None],
        "output_types": [["dense"], ["dense", "sparse"], [], None],
        "task": ["retrieval.query", "none", None],
        "priority": ["bulk", "interactive", None],
        "dimensions": [None, 384, 0, 10**30],
        "user": [values.text(source), None],
    }
    for name, choices in fields.items():
        if source.random() < 0.3:
            body[name] = source.choice(choices)
    accept = source.choice(["*/*", "application/json", "application/x-ndjson", "application/x-npy"])
    return request("POST", source.choice(["/v1/embeddings", "/embeddings"]), body, accept=accept)


def _large(source: random.Random) -> Request:
    """Return a body of up to 17 MiB; that is above the limit."""
    size = source.choice([2**19, 2**21, 2**23, 17 * 2**20])
    unit = source.choice([b"[]", b"1", b'"ab"', b"[1,2,3]", b'{"a":1}', b'"' + b"a" * 5000 + b'"'])
    body = b'{"input":[' + (unit + b",") * (size // (len(unit) + 1)) + unit + b"]}"
    return Request("POST", "/v1/embeddings", body, {"content-type": "application/json"})


def _tei(source: random.Random) -> Request:
    texts = _texts(source)
    path, body = source.choice(
        [
            ("/embed", {"inputs": texts, "truncate": source.choice([True, False, None])}),
            ("/", {"inputs": texts}),
            ("/embed_sparse", {"inputs": texts}),
            ("/embed_all", {"inputs": texts, "truncate": source.choice([True, False, None])}),
            ("/v1/embed", {"texts": texts, "input_type": source.choice(["clustering", None])}),
            ("/v2/embed", {"texts": texts, "embedding_types": ["int8", "base64"]}),
            ("/rerank", {"query": values.text(source) or "a", "texts": texts}),
            ("/rerank", {"query": "a", "texts": texts, "method": "bi-encoder"}),
            ("/v1/rerank", {"query": values.text(source) or "a", "documents": texts}),
            ("/v2/rerank", {"query": "a", "documents": texts, "max_tokens_per_doc": 3}),
            ("/predict", {"inputs": [[text] for text in texts]}),
            ("/similarity", {"inputs": {"source_sentence": "a", "sentences": texts}}),
            ("/tokenize", {"inputs": texts, "add_special_tokens": source.choice([True, None])}),
            ("/decode", {"ids": [[source.randrange(40000) for _ in range(20)]]}),
        ]
    )
    return request("POST", path, body)


def _numeric(source: random.Random) -> Request:
    rows = [values.vector(source, 16) for _ in range(source.choice([2, 20, 300]))]
    path, body = source.choice(
        [
            ("/v1/similarity", {"a": rows, "b": rows[:10], "top_k": source.choice([None, 3])}),
            ("/v1/similarity", {"a": _texts(source), "metric": source.choice(["dot", "l1", ""])}),
            ("/v1/cluster", {"inputs": rows, "k": source.choice([1, 2, 500])}),
        ]
    )
    return request("POST", path, body)


def _scratch(source: random.Random) -> Request:
    path = f"/v1/collections/{quote(source.choice([*SCRATCH, values.text(source, 70)]), safe='')}"
    points = [
        {
            "id": values.text(source, 100),
            "vector": values.vector(source),
            "metadata": values.junk(source),
        }
        for _ in range(source.randrange(1, 4))
    ]
    method, end, body = source.choice(
        [
            ("PUT", "", {"metric": source.choice(["cosine", "l2", "dot"])}),
            ("DELETE", "", None),
            ("GET", "", None),
            ("POST", "/points", {"points": points}),
            (
                "POST",
                "/points",
                {"points": [{"id": values.text(source), "text": values.text(source)}]},
            ),
            ("POST", "/points/delete", {"filter": values.condition(source)}),
            ("POST", "/points/delete", {"ids": [values.text(source)]}),
            ("GET", "/points/" + quote(values.text(source), safe=""), None),
        ]
    )
    return request(method, path + end, body)


def _reading(source: random.Random) -> Request:
    path = f"/v1/collections/{COLLECTION}"
    include = source.choice([[], ["text"], ["metadata", "vector"], ["text", "metadata", "vector"]])
    query: dict[str, Any] = {
        "top_k": source.choice([1, 10, 1000]),
        "include": include,
        "score_threshold": source.choice([None, 0.5, -1e308, 1e300]),
        "filter": source.choice([None, values.condition(source)]),
    }
    way, given = source.choice(
        [
            ("vector", values.vector(source)),
            ("text", values.text(source)),
            ("id", values.text(source)),
        ]
    )
    query[way] = given
    end, body = source.choice(
        [
            ("/search", query),
            ("/search", {"queries": [query] * source.choice([1, 3, 40])}),
            ("/points/count", {"filter": values.condition(source)}),
            ("/points/scroll", {"limit": 1000, "include": include}),
            ("/points/scroll", {"cursor": source.choice(["9" * 5000, values.text(source)])}),
            ("/points/fetch", {"ids": [values.text(source, 300)], "include": include}),
        ]
    )
    return request("POST", path + end, body)


def _operation(source: random.Random) -> Request:
    method, path = source.choice(
        [
            *(("GET", path) for path in OPEN),
            ("GET", "/v1/models/" + quote(values.text(source), safe="")),
            ("GET", "/" + quote(values.text(source))),
            ("GET", "/v1/collections"),
            ("DELETE", "/v1/cache?model=" + quote(values.text(source), safe="")),
            ("DELETE", "/v1/cache"),
            ("GET", "/info?model=" + quote(values.text(source), safe="")),
            (source.choice(["PATCH", "TRACE", "OPTIONS", "HEAD"]), source.choice(OPEN)),
        ]
    )
    return request(method, path)


OPEN = (
    *("/healthz", "/readyz", "/readyz?require=index", "/health", "/ping", "/"),
    *("/v1/models", "/v1/stats", "/v1/cache", "/info", "/docs", "/openapi.json", "/metrics"),
)

PARSED_BYTES = 2**16

MAKERS: tuple[Make, ...] = (
    *(_embeddings, _embeddings, _tei, _tei, _numeric, _scratch, _scratch, _scratch),
    *(_reading, _reading, _reading, _operation, _large),
)


def _spoilt(source: random.Random, body: bytes) -> bytes:
    """Return a body of which a field, or a few bytes, are something else."""
    # Of a large body only bytes: the clients would stand still while they read it.
    if source.random() < 0.3 or len(body) > PARSED_BYTES:
        content = bytearray(body)
        for _ in range(source.randrange(1, 4)):
            content[source.randrange(len(content))] = source.randrange(256)
        return bytes(content)
    try:
        document = json.loads(body)
    except ValueError:
        return body
    name = source.choice([*document, values.text(source, 20)])
    document[name] = values.junk(source)
    return json.dumps(document).encode()
