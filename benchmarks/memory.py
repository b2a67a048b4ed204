"""Estimated beside measured memory: the peak resident size of fresh processes, in one table.

``python -m benchmarks.memory`` starts a process for every line, which makes a generator and embeds
texts for several full batches: with the default model, and with one of BERT-base's size whose
weights are random. Ends with status 1 where an estimate is off by more than a quarter. The last
line is one JSON document. Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import torch

from benchmarks.texts import sample
from embedder import EmbedderSettings, EmbeddingGenerator
from embedder.backends.precision import has_fast_bfloat16
from embedder.inference.memory import MIB, NumberFormats, estimate, expected_runtime
from embedder.models.files import ModelFiles
from embedder.models.model_size import ModelSize
from embedder.settings.cache import CacheSettings
from embedder.settings.model import BackendSettings, BatchSettings, ModelSettings

LIMIT = 0.25
"""The largest error of an estimate, as a share of the measurement."""

DTYPES = ("float32", "bfloat16", "auto")
BUDGETS = (512, 2048, 8192)
RANDOM = "random BERT-base"
MODELS = ("all-MiniLM-L6-v2", RANDOM)
TOKENS_PER_TEXT = 8
"""Fewer than any text of the sample has by far, so that the texts fill several batches."""


@dataclass(frozen=True, slots=True)
class Line:
    """One process: its estimated and its measured bytes."""

    model: str
    dtype: str
    budget: int
    estimated: int
    measured: int

    @property
    def deviation(self) -> float:
        """Return how much the estimate is too high, as a share of the measurement."""
        return self.estimated / self.measured - 1

    @property
    def ok(self) -> bool:
        """Return whether the estimate is within `LIMIT`."""
        return abs(self.deviation) <= LIMIT


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every line, print the table and return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.memory", description=__doc__)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child is not None:
        print(peak_of_this_process(EmbedderSettings.model_validate_json(options.child)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        write_random_bert(Path(folder))
        lines = list(_lines(folder))
    print(table(lines))
    print(json.dumps([asdict(line) | {"ok": line.ok} for line in lines]))
    return 0 if all(line.ok for line in lines) else 1


def table(lines: Sequence[Line]) -> str:
    """Lay the lines out for people, in MiB."""
    rows = [f"{'model':18}{'dtype':>10}{'tokens':>8}{'estimated':>11}{'measured':>10}{'off by':>8}"]
    rows += [
        f"{line.model:18}{line.dtype:>10}{line.budget:8}{line.estimated / MIB:11.0f}"
        f"{line.measured / MIB:10.0f}{line.deviation:+8.0%}{'' if line.ok else '  TOO FAR'}"
        for line in lines
    ]
    return "\n".join(rows)


def measured(settings: EmbedderSettings) -> int:
    """Return the peak resident size, in bytes, of a fresh process that embeds full batches."""
    child = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", "--child", settings.model_dump_json()],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return int(child.stdout)


def peak_of_this_process(settings: EmbedderSettings) -> int:
    """Embed texts for several full batches and return the most this process ever held."""
    budget = settings.batching.max_tokens or max(BUDGETS)
    with EmbeddingGenerator(settings=settings) as generator:
        generator.embed(sample(budget // TOKENS_PER_TEXT, seed=0))
    lines = Path("/proc/self/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    return int(status["VmHWM"].split()[0]) * 1024


def write_random_bert(folder: Path) -> None:
    """Write a BERT of 110 million random parameters, with the default model's tokenizer."""
    from transformers import BertConfig, BertModel

    BertModel(BertConfig(), add_pooling_layer=False).save_pretrained(folder)
    source = ModelFiles.open(ModelSettings()).layout.transformer
    shutil.copy(source / "tokenizer.json", folder)


def estimated(settings: EmbedderSettings, budget: int) -> int:
    """Return the estimated bytes of a process that computes batches of ``budget`` tokens."""
    files = ModelFiles.open(settings.model)
    runtime = expected_runtime(files.config, settings.backend)
    bfloat16 = has_fast_bfloat16(torch.device("cpu"))
    formats = NumberFormats.of(settings.backend.dtype, runtime, bfloat16=bfloat16)
    tokens = max(budget, files.max_tokens)
    return estimate(ModelSize.of(files), runtime, formats, tokens=tokens, cache=0).peak


def _lines(folder: str) -> Iterator[Line]:
    """Give the lines of all models, of which the random one is in a folder."""
    for name, dtype, budget in product(MODELS, DTYPES, BUDGETS):
        settings = EmbedderSettings(
            model=ModelSettings(name=folder if name == RANDOM else name),
            backend=BackendSettings.model_validate({"dtype": dtype, "device": "cpu"}),
            batching=BatchSettings(max_tokens=budget),
            cache=CacheSettings(max_bytes=0),
        )
        yield Line(name, dtype, budget, estimated(settings, budget), measured(settings))


if __name__ == "__main__":
    sys.exit(main())
