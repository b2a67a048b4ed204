"""Compare the library's vectors and tokens with published ones of the same model.

``python -m benchmarks.fidelity --data DIR`` prints a table, then one JSON document as its last
line, and ends with status 1 where a check fails. DIR holds the reference data: published vectors,
token ids, mixed texts and the STS Benchmark. Needs no server.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import numpy as np

from benchmarks.reference import (
    LEAST_COSINE,
    Dtype,
    Finding,
    compare,
    cosines,
    label,
    mismatches,
    read_json,
    read_sts,
    read_texts,
    spearman,
)
from embedder import EmbedderSettings, EmbeddingGenerator, EmbedOptions, Truncate
from embedder.core.types import Vectors
from embedder.inference.loading import load_tokenizer
from embedder.models.files import ModelFiles
from embedder.settings.cache import CacheSettings
from embedder.settings.model import BackendSettings, BatchSettings, ModelSettings, PoolingName

SEED = 20_240_229
CHUNK = 256
PLAIN_BATCH = 16
PLAIN = "plain transformers"
POOLINGS: dict[str, PoolingName | None] = {"mean": None, "cls": "cls", "none": "cls"}
"""The setting for each published pooling; without one, cls takes the first token."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every check and return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.fidelity", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the reference data")
    parser.add_argument("--texts", type=int, default=2000, help="mixed texts to compare (2,000)")
    options = parser.parse_args(arguments)
    if not options.data.is_dir():
        parser.error(f"no such folder: {options.data}")
    findings, shown = _check_everything(options.data, options.texts)
    print(table(findings))
    print(json.dumps(shown | {"ok": all(finding.ok for finding in findings)}))
    return 0 if all(finding.ok for finding in findings) else 1


def table(findings: Sequence[Finding]) -> str:
    """Lay the findings out for people."""
    lines = [("check", "dtype", "worst", "limit", "")]
    lines += [
        (
            finding.what,
            finding.dtype,
            f"{finding.worst:.7g}",
            "" if finding.limit is None else f"{'>=' if finding.least else '<='} {finding.limit:g}",
            "shown" if finding.limit is None else "ok" if finding.ok else "FAILED",
        )
        for finding in findings
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    rows = (zip(line, widths, strict=True) for line in lines)
    return "\n".join("  ".join(f"{cell:<{width}}" for cell, width in row).rstrip() for row in rows)


def _check_everything(data: Path, count: int) -> tuple[list[Finding], dict[str, Any]]:
    """Return the findings, and the document that describes them."""
    checks = read_json(data / "reference_vectors.json")["checks"]
    texts = read_texts(data / "mixed_texts.jsonl.gz", count, seed=SEED)
    scores, left, right = read_sts(data / "sts" / "sts-dev.csv")
    sentences = [*left, *right]
    findings = _tokens(read_json(data / "bert_uncased_tokenizer_expected.json")["cases"], checks)
    plain = _Plain(ModelFiles.open(ModelSettings()))
    expected = plain.embed(texts, f"{PLAIN}, mixed texts")
    correlations = [_correlation(PLAIN, plain.embed(sentences, f"{PLAIN}, STS"), scores)]
    computed: dict[str, str] = {}
    for dtype in get_args(Dtype):
        findings += _published(checks, dtype)
        with _generator(dtype) as generator:
            computed[dtype] = f"{generator.model.dtype} on {generator.model.device}"
            found = _embed(generator, texts, f"{dtype}, mixed texts")
            vectors = _embed(generator, sentences, f"{dtype}, STS")
        correlations.append(_correlation(dtype, vectors, scores))
        what = f"{PLAIN}: {len(texts):,} mixed texts, cosine"
        worst = float(cosines(found, expected).min())
        findings.append(Finding(what, dtype, worst, LEAST_COSINE[dtype], least=True))
    findings += correlations
    documents = [finding.document() for finding in findings]
    return findings, {"texts": len(texts), "computed": computed, "checks": documents}


def _correlation(name: str, vectors: Vectors, scores: Sequence[float]) -> Finding:
    """Correlate the pairs' cosines with people's scores; the second half pairs with the first."""
    pairs = len(scores)
    worst = spearman(cosines(vectors[:pairs], vectors[pairs:]), scores)
    return Finding(f"STS Benchmark dev, {pairs:,} pairs: Spearman", name, worst, None)


def _tokens(cases: Sequence[dict[str, Any]], checks: Sequence[dict[str, Any]]) -> list[Finding]:
    """Compare token ids, and the token counts that vectors were published with."""
    tokenizer = load_tokenizer(ModelFiles.open(ModelSettings()))

    def ids(text: str) -> list[int]:
        row: list[int] = tokenizer.encode([text], truncate=Truncate.END).tokens.ids.tolist()
        return row

    found = [ids(case["text"]) for case in cases]
    for row, case in zip(found, cases, strict=True):
        # Nothing here embeds pairs: the second text follows, as BERT has it, without its [CLS].
        row += ids(case["text_pair"])[1:] if "text_pair" in case else []
    wrong = mismatches([case["ids"] for case in cases], found)
    for place in wrong:
        _say(f"other tokens than published: {cases[place]['name']}")
    findings = [Finding(f"{len(cases)} texts: token ids that differ", "", len(wrong), 0)]
    for check in checks:
        if "token_count" in check:
            off = max(abs(len(ids(text)) - check["token_count"]) for text in check["texts"])
            what = f"{label(check['source'])}: token count, difference"
            findings.append(Finding(what, "", off, 0))
    return findings


def _published(checks: Sequence[dict[str, Any]], dtype: Dtype) -> list[Finding]:
    """Compare with every published vector, in the order of the file."""
    findings: dict[int, Finding] = {}
    widths = tuple({check["dims"] for check in checks if "dims" in check})
    for pooling in dict.fromkeys(POOLINGS.values()):
        with _generator(dtype, ModelSettings(pooling=pooling, matryoshka=widths)) as generator:
            for number, check in enumerate(checks):
                if POOLINGS[check.get("pooling", "mean")] == pooling:
                    rows = generator.embed(check["texts"], _options(check, generator.model.width))
                    findings[number] = compare(check, rows, dtype)
    return [findings[number] for number in range(len(checks))]


def _options(check: dict[str, Any], width: int) -> EmbedOptions:
    """Return the settings with which a check was published."""
    dimensions = check.get("dims", width)
    return EmbedOptions(
        dimensions=dimensions if dimensions < width else None,
        normalize=check.get("normalised", True),
    )


@contextmanager
def _generator(dtype: Dtype, model: ModelSettings | None = None) -> Iterator[EmbeddingGenerator]:
    """Load the model, without a cache: each vector that is compared was computed for it."""
    settings = EmbedderSettings(
        model=model or ModelSettings(),
        backend=BackendSettings(dtype=dtype),
        batching=BatchSettings(autotune_s=0),  # how much is computed at once changes no vector
        cache=CacheSettings(max_bytes=0),
    )
    with EmbeddingGenerator(settings=settings) as generator:
        yield generator


def _embed(generator: EmbeddingGenerator, texts: Sequence[str], what: str) -> Vectors:
    rows = []
    for start in range(0, len(texts), CHUNK):
        rows.append(generator.embed(texts[start : start + CHUNK]))
        _progress(what, min(start + CHUNK, len(texts)), len(texts))
    return np.concatenate(rows)


class _Plain:
    """The model as `transformers` computes it: float32, on the CPU, mean over the tokens."""

    def __init__(self, files: ModelFiles) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        directory = files.layout.transformer
        self._max_tokens = files.max_tokens
        self._tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        model = AutoModel.from_pretrained(directory, local_files_only=True, dtype=torch.float32)
        self._model = model.eval()

    def embed(self, texts: Sequence[str], what: str) -> Vectors:
        """Return float32[n, width], normalised, one row a text, in order."""
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        rows: dict[int, Any] = {}
        for start in range(0, len(order), PLAIN_BATCH):
            places = order[start : start + PLAIN_BATCH]
            rows |= zip(places, self._batch([texts[place] for place in places]), strict=True)
            _progress(what, len(rows), len(texts))
        return np.stack([rows[place] for place in range(len(texts))])

    def _batch(self, texts: list[str]) -> Vectors:
        import torch

        tokens = self._tokenizer(
            texts,
            padding=True,
            truncation=True,
            max_length=self._max_tokens,
            return_tensors="pt",
        )
        with torch.inference_mode():
            hidden = self._model(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        vectors: Vectors = torch.nn.functional.normalize(mean, dim=1).numpy()
        return vectors


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _progress(what: str, done: int, total: int) -> None:
    """Write one line that is written over on a terminal, and the last one elsewhere."""
    if sys.stderr.isatty():
        end = "\n" if done >= total else ""
        print(f"\r\033[K{what}: {done:,} of {total:,}", end=end, file=sys.stderr, flush=True)
    elif done >= total:
        _say(f"{what}: {total:,}")


if __name__ == "__main__":
    sys.exit(main())
