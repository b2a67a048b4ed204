"""The rate of a cross-encoder beside that of sentence-transformers' CrossEncoder.

``python -m benchmarks.reranking`` ranks 100 texts of 128 tokens by a query, with a model of the
shape of MiniLM-L6 and random weights. The contenders rank the same new texts in turn, in this
process, and nothing is cached; the first round warms up and compares the scores. ``--serve`` adds a
service that has the model beside the default one, over HTTP.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import torch
import yaml
from tokenizers import Tokenizer

from benchmarks.service import measured_service
from embedder import EmbedderSettings, EmbeddingGenerator
from embedder.backends.precision import has_fast_bfloat16
from embedder.core.types import Vectors
from embedder.models.files import ModelFiles
from embedder.settings.cache import CacheSettings
from embedder.settings.model import BackendSettings, ModelSettings

QUERY = "which of these texts is about a cat that sleeps on a warm wall"
PEER = "CrossEncoder, float32"
CONFIG = Path(__file__).parents[1] / "serve_config.yaml"

Score = Callable[[Sequence[str]], Vectors]
"""Scores texts by the query."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="benchmarks.reranking", description=__doc__)
    parser.add_argument("--texts", type=int, default=100, help="texts of one ranking (100)")
    parser.add_argument("--tokens", type=int, default=128, help="tokens of a text (128)")
    parser.add_argument("--rounds", type=int, default=7, help="measured rounds (7)")
    parser.add_argument("--serve", action="store_true", help="measure a service, too")
    options = parser.parse_args(arguments)
    before = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        write_cross_encoder(Path(folder))
        words = words_of(Tokenizer.from_file(f"{folder}/tokenizer.json"))
        lists = [texts(words, options.texts, options.tokens) for _ in range(options.rounds + 1)]
        contenders = _contenders(folder, stack)
        if options.serve:
            contenders["service, HTTP"] = _served(folder, stack)
        rates, differences = measure(contenders, lists)
    print(f"load before {before[0]:.1f}; {options.texts} texts of {options.tokens} tokens\n")
    peer = statistics.median(rates[PEER])
    print("| | texts/s | spread | ratio | largest difference of a score |\n|---|--:|--:|--:|--:|")
    for name, measured in rates.items():
        spread = f"{min(measured):.0f}–{max(measured):.0f}"
        rate = statistics.median(measured)
        ratio = f"{rate / peer:.2f} | {differences[name]:.1e}"
        print(f"| {name} | {rate:.0f} | {spread} | {ratio} |")
    return 0


def measure(
    contenders: Mapping[str, Score], lists: Sequence[Sequence[str]]
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return the rates of each contender, and its largest difference to the first one."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    first = [score(lists[0]) for score in contenders.values()]
    differences = [float(np.abs(scores - first[0]).max()) for scores in first]
    for ranked in lists[1:]:
        for name, score in contenders.items():
            began = time.perf_counter()
            score(ranked)
            rates[name].append(len(ranked) / (time.perf_counter() - began))
    return rates, dict(zip(contenders, differences, strict=True))


def words_of(tokenizer: Tokenizer) -> list[str]:
    """Return the words that are one token, in ascending order."""
    return sorted(word for word in tokenizer.get_vocab() if word.isalpha() and word.isascii())


def texts(words: Sequence[str], count: int, tokens: int) -> list[str]:
    """Return texts of so many tokens, none of which has been returned before."""
    return [" ".join(random.choices(words, k=tokens)) for _ in range(count)]


def write_cross_encoder(folder: Path) -> None:
    """Write a cross-encoder of random weights, with the tokenizer of the default model."""
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    shape = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12}
    config = BertConfig(**shape, intermediate_size=1536, num_labels=1, initializer_range=0.1)
    BertForSequenceClassification(config).save_pretrained(folder)
    source = ModelFiles.open(ModelSettings(offline=True)).layout.transformer
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        if (source / name).is_file():
            shutil.copy(source / name, folder)


def _contenders(folder: str, stack: ExitStack) -> dict[str, Score]:
    from sentence_transformers import CrossEncoder

    peer = CrossEncoder(folder, device="cpu", max_length=256)

    def score_by_peer(ranked: Sequence[str]) -> Vectors:
        scores: Vectors = peer.predict([(QUERY, text) for text in ranked], show_progress_bar=False)
        return scores

    contenders: dict[str, Score] = {PEER: score_by_peer}
    fast = has_fast_bfloat16(torch.device("cpu"))
    for dtype in ("float32", *(["bfloat16"] if fast else [])):
        settings = EmbedderSettings(
            model=ModelSettings(name=folder, max_tokens=256),
            backend=BackendSettings.model_validate({"dtype": dtype, "device": "cpu"}),
            cache=CacheSettings(max_bytes=0),
        )
        generator = stack.enter_context(EmbeddingGenerator(settings=settings))
        contenders[f"embedder, {dtype}"] = _scoring(generator)
    return contenders


def _served(folder: str, stack: ExitStack) -> Score:
    """Return a contender that sends requests to a service of its own, with a bfloat16 model."""
    document = yaml.safe_load(CONFIG.read_text("utf-8"))
    (application,) = document["applications"]
    cross_encoder = {"name": folder, "alias": "cross-encoder", "max_tokens": 256, "pinned": True}
    for deployment in application["deployments"]:
        if "user_config" in deployment:
            models = deployment["user_config"]["models"]
            deployment["user_config"] = {"models": [*models, cross_encoder]}
    config = Path(folder, "serve_config.yaml")
    config.write_text(yaml.safe_dump(document), "utf-8")
    client = stack.enter_context(
        httpx.Client(base_url=stack.enter_context(measured_service(None, config)), timeout=60)
    )

    def score(ranked: Sequence[str]) -> Vectors:
        answer = client.post("/v2/rerank", json={"query": QUERY, "documents": list(ranked)})
        scores = np.empty(len(ranked), np.float32)
        for found in answer.raise_for_status().json()["results"]:
            scores[found["index"]] = found["relevance_score"]
        return scores

    return score


def _scoring(generator: EmbeddingGenerator) -> Score:
    def score(ranked: Sequence[str]) -> Vectors:
        scores = np.empty(len(ranked), np.float32)
        for found in generator.rerank(QUERY, ranked):
            scores[found.index] = found.score
        return scores

    return score


if __name__ == "__main__":
    sys.exit(main())
