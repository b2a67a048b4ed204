"""What words add to vectors: dense, lexical and hybrid search over judged questions.

``python -m benchmarks.retrieval --data DIR`` puts the corpus of DIR/cranfield into an index in this
process, asks its questions by vectors, by words and by both, and prints nDCG@10 and recall@100 of
each. The differences to dense search have intervals of a paired bootstrap over the questions. bm25s
ranks the same terms as an independent implementation of BM25: ends with 1 where its nDCG@10 differs
by more than 0.01. The weights are those of the library, and nothing is fitted to the data.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import bm25s
import numpy as np
from numpy.typing import NDArray

from benchmarks.cranfield import Judgements, ndcg, read_judgements, read_texts
from embedder import EmbeddingGenerator
from embedder.index.contract.points import Hit, Points, Query
from embedder.index.contract.texts import TextQuery
from embedder.index.fusion import FusedHit, reciprocal_rank, weighted_sum
from embedder.index.lexical.analyzer import terms_of
from embedder.index.lexical.bm25 import K1, B
from embedder.index.vector_index import VectorIndex

DEPTH = 100
"""Hits of each ranking, before they are fused and for the recall."""

TOLERANCE = 0.01
"""By how much the nDCG@10 of two implementations of BM25 may differ."""

SAMPLES = 10_000
NAME = "cranfield"

Rankings = Mapping[str, list[list[str]]]
"""For each way to search the ids that it finds for each question, the best first."""

Figures = Mapping[str, NDArray[np.float64]]
"""For each way to search the value of a measure for each question."""

Measure = Callable[[Sequence[str], Mapping[str, float]], float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table and a JSON line, and return 1 where BM25 is another than bm25s."""
    parser = argparse.ArgumentParser(prog="benchmarks.retrieval", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of cranfield/")
    folder = parser.parse_args(arguments).data / "cranfield"
    corpus, questions = read_texts(folder / "corpus.jsonl.gz"), read_texts(folder / "queries.jsonl")
    judgements = read_judgements(folder / "qrels.tsv")
    rankings = {**_searched(corpus, questions), "bm25s": independent(corpus, questions)}
    gains = _each(rankings, questions, judgements, ndcg)
    recalls = _each(rankings, questions, judgements, recall)
    print(f"{len(corpus):,} texts, {len(questions):,} questions")
    print(table(gains, recalls))
    means = {name: float(values.mean()) for name, values in gains.items()}
    print(json.dumps({"ndcg": means, "recall": {n: float(v.mean()) for n, v in recalls.items()}}))
    return int(abs(means["lexical"] - means["bm25s"]) > TOLERANCE)


def independent(corpus: Mapping[str, str], questions: Mapping[str, str]) -> list[list[str]]:
    """Return what bm25s finds by the same terms and parameters."""
    ids = list(corpus)
    retriever = bm25s.BM25(k1=K1, b=B, method="lucene", dtype="float64")
    retriever.index([terms_of(text) for text in corpus.values()], show_progress=False)
    asked = [terms_of(text) for text in questions.values()]
    found, _ = retriever.retrieve(asked, k=min(DEPTH, len(ids)), show_progress=False)
    return [[ids[at] for at in row] for row in found.tolist()]


def recall(found: Sequence[str], relevance: Mapping[str, float]) -> float:
    """Return the share of the relevant documents that a ranking has."""
    relevant = {name for name, gain in relevance.items() if gain > 0}
    return len(relevant & set(found)) / len(relevant) if relevant else 0.0


def interval(differences: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % interval of the mean difference by a bootstrap over the questions."""
    chosen = np.random.default_rng(0).integers(len(differences), size=(SAMPLES, len(differences)))
    low, high = np.quantile(differences[chosen].mean(axis=1), [0.025, 0.975]).tolist()
    return low, high


def table(gains: Figures, recalls: Figures) -> str:
    """Return the means of each way to search, and their differences to dense search."""
    lines = [
        f"{'':16}{'nDCG@10':>9}{'to dense (95 %)':>30}{'recall@100':>12}{'to dense (95 %)':>30}"
    ]
    for name in gains:
        cells = [f"{name:16}"]
        for values, width in ((gains, 9), (recalls, 12)):
            low, high = interval(values[name] - values["dense"])
            difference = float((values[name] - values["dense"]).mean())
            shown = "" if name == "dense" else f"{difference:+.4f} ({low:+.4f} to {high:+.4f})"
            cells.append(f"{values[name].mean():>{width}.4f}{shown:>30}")
        lines.append("".join(cells))
    return "\n".join(lines)


def _searched(corpus: Mapping[str, str], questions: Mapping[str, str]) -> Rankings:
    texts = list(questions.values())
    with EmbeddingGenerator() as generator, closing(VectorIndex(background=False)) as index:
        vectors = generator.embed(list(corpus.values()))
        metadata: list[dict[str, object]] = [{} for _ in corpus]
        index.upsert(NAME, Points(list(corpus), vectors, list(corpus.values()), metadata))
        asked = [Query(NAME, one, DEPTH, include=()) for one in generator.embed(texts)]
        dense = index.search(asked)
        lexical = index.search_text([TextQuery(NAME, one, DEPTH, include=()) for one in texts])
    pairs = [{"dense": one, "lexical": other} for one, other in zip(dense, lexical, strict=True)]
    return {
        "dense": [_ids(hits) for hits in dense],
        "lexical": [_ids(hits) for hits in lexical],
        "hybrid, rrf": [_fused(reciprocal_rank(pair)) for pair in pairs],
        "hybrid, weights": [_fused(weighted_sum(pair)) for pair in pairs],
    }


def _each(
    rankings: Rankings,
    questions: Mapping[str, str],
    judgements: Judgements,
    measure: Measure,
) -> Figures:
    return {
        name: np.array(
            [
                measure(ids, judgements.get(question, {}))
                for question, ids in zip(questions, found, strict=True)
            ]
        )
        for name, found in rankings.items()
    }


def _ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.id for hit in hits]


def _fused(hits: Sequence[FusedHit]) -> list[str]:
    return [one.hit.id for one in hits[:DEPTH]]


if __name__ == "__main__":
    sys.exit(main())
