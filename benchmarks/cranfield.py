"""Real questions about real abstracts: search results over HTTP, beside plain numpy.

``python -m benchmarks.cranfield --data DIR`` puts the corpus of DIR/cranfield into a collection as
texts, asks its questions as texts, and judges the answers by nDCG@10. Then numpy ranks the vectors
that the collection stores, by the vectors that the service gives the questions: the index has to
rank as well, since nothing but rounding is between the two. Ends with 1 where it does not.
"""

from __future__ import annotations

import argparse
import base64
import csv
import gzip
import json
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np

from benchmarks.service import measured_service
from embedder.core.types import Vectors

TOP_K = 10
DOCUMENTS = 128
QUESTIONS = 64
"""Of one request."""

TOLERANCE = 1e-3
"""Of the mean: one pair of neighbours that rounding swaps for one question moves it by less."""

TIMEOUT_S = 120.0

Judgements = Mapping[str, Mapping[str, float]]
"""How relevant documents are, by question."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run shows; ``same`` is the share of questions with the same documents in order."""

    documents: int
    questions: int
    ndcg_service: float
    ndcg_numpy: float
    same: float
    documents_per_s: float
    questions_per_s: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table and a JSON line, and return 1 where the index ranks otherwise."""
    parser = argparse.ArgumentParser(prog="benchmarks.cranfield", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of cranfield/")
    parser.add_argument("--url", help="a running service; one is started where left out")
    parser.add_argument("--config", type=Path, default=Path("serve_config.yaml"))
    options = parser.parse_args(arguments)
    folder = options.data / "cranfield"
    corpus, questions = read_texts(folder / "corpus.jsonl.gz"), read_texts(folder / "queries.jsonl")
    judgements = read_judgements(folder / "qrels.tsv")
    with (
        measured_service(options.url, options.config) as url,
        httpx.Client(base_url=url, timeout=TIMEOUT_S) as client,
    ):
        figures = measure(client, corpus, questions, judgements)
    for name, value in asdict(figures).items():
        print(f"{name:24}{value:>14,.6g}")
    print(json.dumps(asdict(figures)))
    return int(abs(figures.ndcg_service - figures.ndcg_numpy) > TOLERANCE)


def read_texts(path: Path) -> dict[str, str]:
    """Return texts by their ids, empty ones left out."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        found = {str(one["_id"]): str(one["text"]).strip() for one in map(json.loads, lines)}
    return {name: text for name, text in found.items() if text}


def read_judgements(path: Path) -> Judgements:
    """Return the judgements of a table with a header."""
    judged: defaultdict[str, dict[str, float]] = defaultdict(dict)
    with path.open(newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            judged[row["query-id"]][row["corpus-id"]] = float(row["score"])
    return dict(judged)


def ndcg(found: Sequence[str], relevance: Mapping[str, float], top_k: int = TOP_K) -> float:
    """Return the discounted gain of a ranking, as a share of the best there is."""
    best = _gain(sorted(relevance.values(), reverse=True)[:top_k])
    return _gain([relevance.get(name, 0.0) for name in found[:top_k]]) / best if best else 0.0


def measure(
    client: httpx.Client,
    corpus: Mapping[str, str],
    questions: Mapping[str, str],
    judgements: Judgements,
) -> Figures:
    """Fill a collection and search it, then rank its vectors by numpy; delete it."""
    path = f"/v1/collections/cranfield-{uuid4().hex[:8]}"
    _ask(client, "PUT", path, {"metric": "cosine"})
    try:
        began = time.perf_counter()
        for part in _parts(list(corpus.items()), DOCUMENTS):
            points = [{"id": name, "text": text} for name, text in part]
            _ask(client, "POST", f"{path}/points", {"points": points})
        filled_s = time.perf_counter() - began
        began = time.perf_counter()
        found: list[list[str]] = []
        for part in _parts(list(questions.values()), QUESTIONS):
            queries = [{"text": text, "top_k": TOP_K} for text in part]
            answer = _ask(client, "POST", f"{path}/search", {"queries": queries})
            found += [[hit["id"] for hit in hits] for hits in answer["results"]]
        asked_s = time.perf_counter() - began
        expected = _ranked(*_stored(client, path), _embedded(client, list(questions.values())))
    finally:
        _ask(client, "DELETE", path, None)
    pairs = list(zip(found, expected, strict=True))
    same = sum(one == other for one, other in pairs) / len(pairs)
    return Figures(
        documents=len(corpus),
        questions=len(questions),
        ndcg_service=_mean_ndcg(found, questions, judgements),
        ndcg_numpy=_mean_ndcg(expected, questions, judgements),
        same=same,
        documents_per_s=len(corpus) / filled_s,
        questions_per_s=len(questions) / asked_s,
    )


def _mean_ndcg(
    rankings: Sequence[Sequence[str]], questions: Mapping[str, str], judgements: Judgements
) -> float:
    pairs = zip(questions, rankings, strict=True)
    return float(np.mean([ndcg(one, judgements.get(name, {})) for name, one in pairs]))


def _ranked(names: Sequence[str], stored: Vectors, asked: Vectors) -> list[list[str]]:
    """Return the names of the nearest stored vectors for each that is asked, by the cosine."""
    left, right = (
        rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
        for rows in (asked, stored)
    )
    order = np.argsort(-(left @ right.T), axis=1, kind="stable")[:, :TOP_K]
    return [[names[at] for at in row] for row in order.tolist()]


def _stored(client: httpx.Client, path: str) -> tuple[list[str], Vectors]:
    points: list[dict[str, Any]] = []
    cursor = None
    while True:
        body = {"cursor": cursor, "limit": 500, "include": ["vector"]}
        page = _ask(client, "POST", f"{path}/points/scroll", body)
        points += page["points"]
        if (cursor := page["cursor"]) is None:
            names = [point["id"] for point in points]
            return names, np.array([point["vector"] for point in points], np.float32)


def _embedded(client: httpx.Client, texts: Sequence[str]) -> Vectors:
    """Return the vectors of texts that were asked before: from the cache, so the very same."""
    body = {"input": list(texts), "encoding_format": "base64"}
    rows = _ask(client, "POST", "/v1/embeddings", body)["data"]
    return np.stack([np.frombuffer(base64.b64decode(row["embedding"]), "<f4") for row in rows])


def _ask(client: httpx.Client, method: str, path: str, body: Any) -> Any:
    answer = client.request(method, path, json=body).raise_for_status()
    return answer.json() if answer.content else None


def _parts(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[at : at + size] for at in range(0, len(items), size)]


def _gain(relevance: Sequence[float]) -> float:
    return float(sum(one / np.log2(rank + 2) for rank, one in enumerate(relevance)))


if __name__ == "__main__":
    sys.exit(main())
