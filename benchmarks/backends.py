"""Every backend in every number format it has here: speed, fidelity, load time and memory.

``python -m benchmarks.backends [--texts FILE] [--data DIR] [--markdown]`` prints one table, then
one JSON document as its last line. All contenders embed the same texts with the default model on
the CPU, without a cache and with one budget for a batch, and alternate, since the speed of a shared
machine drifts. Load time and peak memory are those of a fresh process, which finds a graph that is
already exported. Cosines are the least ones to torch in float32. DIR holds the STS Benchmark.
Memory needs Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from benchmarks.reference import cosines, read_sts, spearman
from benchmarks.texts import sample
from embedder import EmbedderSettings, EmbeddingGenerator
from embedder.backends.precision import has_fast_bfloat16
from embedder.core.errors import MissingExtra
from embedder.core.types import Vectors
from embedder.settings.cache import CacheSettings
from embedder.settings.model import BackendSettings, BatchSettings, ModelSettings

CONTENDERS = (
    ("torch", "float32"),
    ("torch", "bfloat16"),
    ("onnx", "float32"),
    ("onnx", "int8"),
)
"""Backend and number format; the others are compared with the first."""

BUDGET = 2048
MIB = 2**20

Embed = Callable[[Sequence[str]], Vectors]


@dataclass(slots=True)
class Row:
    """What was measured of one contender."""

    backend: str
    dtype: str
    cosine: float = 1.0
    spearman: float | None = None
    load_s: float = 0.0
    peak_bytes: int = 0
    texts_per_s: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Return the median of the rounds."""
        return statistics.median(self.texts_per_s)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table and a JSON line."""
    options = _options(arguments)
    if options.child is not None:
        print(json.dumps(load_in_this_process(EmbedderSettings.model_validate_json(options.child))))
        return 0
    before = os.getloadavg()
    texts = sample(options.count * (options.rounds + 1), seed=options.seed, path=options.texts)
    parts = [texts[at : at + options.count] for at in range(0, len(texts), options.count)]
    with ExitStack() as stack:
        contenders = {
            name: stack.enter_context(EmbeddingGenerator(settings=settings(*name))).embed
            for name in available()
        }
        rows = measure(contenders, parts)
        if options.data is not None:
            correlate(contenders, rows, options.data / "sts" / "sts-dev.csv")
    for row in rows:
        load = _load_in_a_fresh_process(settings(row.backend, row.dtype))
        row.load_s, row.peak_bytes = load["load_s"], int(load["peak_bytes"])
    _report(rows, options, before)
    return 0


def available() -> Iterator[tuple[str, str]]:
    """Give the contenders that can run here, and say of every other why it is left out."""
    for backend, dtype in CONTENDERS:
        if dtype == "bfloat16" and not has_fast_bfloat16(torch.device("cpu")):
            _say(f"{backend} {dtype} is left out: the processor has no bfloat16")
            continue
        try:
            # The first load may export the model, which no measurement is to see.
            with EmbeddingGenerator(settings=settings(backend, dtype)):
                yield backend, dtype
        except MissingExtra as error:
            _say(f"{backend} {dtype} is left out: {error}")


def settings(backend: str, dtype: str) -> EmbedderSettings:
    """Return the settings that a contender is measured with."""
    return EmbedderSettings(
        model=ModelSettings(offline=True),
        backend=BackendSettings.model_validate({"name": backend, "dtype": dtype, "device": "cpu"}),
        batching=BatchSettings(max_tokens=BUDGET),
        cache=CacheSettings(max_bytes=0),
    )


def measure(
    contenders: Mapping[tuple[str, str], Embed],
    parts: Sequence[Sequence[str]],
    clock: Callable[[], float] = time.perf_counter,
) -> list[Row]:
    """Let all embed one part after the other; the first warms up, and its vectors are compared."""
    rows = {name: Row(*name) for name in contenders}
    exact: Vectors | None = None
    for number, part in enumerate(parts):
        for name, embed in contenders.items():
            began = clock()
            vectors = embed(part)
            rate = len(part) / (clock() - began)
            _say(f"round {number} {' '.join(name)}: {rate:.0f}")
            if number > 0:
                rows[name].texts_per_s.append(rate)
                continue
            exact = vectors if exact is None else exact
            rows[name].cosine = float(cosines(vectors, exact).min())
    return list(rows.values())


def correlate(contenders: Mapping[tuple[str, str], Embed], rows: Sequence[Row], path: Path) -> None:
    """Note how every contender's cosines rank the pairs of an STS file, beside people's scores."""
    scores, left, right = read_sts(path)
    for row in rows:
        embed = contenders[row.backend, row.dtype]
        row.spearman = spearman(cosines(embed(left), embed(right)), scores)


def load_in_this_process(chosen: EmbedderSettings) -> dict[str, float]:
    """Load and embed a batch; return the seconds of loading and the most that was ever held."""
    began = time.perf_counter()
    with EmbeddingGenerator(settings=chosen) as generator:
        load_s = time.perf_counter() - began
        generator.embed(sample(BUDGET // 8, seed=0))
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {"load_s": load_s, "peak_bytes": int(status["VmHWM"].split()[0]) * 1024}


def table(rows: Sequence[Row], *, markdown: bool = False) -> str:
    """Lay the rows out for people, or for a page of Markdown."""
    lines = [_HEADINGS, *(_cells(row, rows[0]) for row in rows)]
    if markdown:
        rule = "|---|---|" + "--:|" * (len(_HEADINGS) - 2)
        written = [f"| {' | '.join(line)} |" for line in lines]
        return "\n".join([written[0], rule, *written[1:]])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


_HEADINGS = (
    "backend",
    "dtype",
    "texts/s",
    "spread",
    "ratio",
    "least cosine",
    "STS-B dev",
    "load, s",
    "peak, MiB",
)


def _cells(row: Row, base: Row) -> tuple[str, ...]:
    return (
        row.backend,
        row.dtype,
        f"{row.median:.0f}",
        f"{min(row.texts_per_s):.0f}–{max(row.texts_per_s):.0f}",
        f"{row.median / base.median:.2f}",
        f"{row.cosine:.6f}",
        "" if row.spearman is None else f"{row.spearman:.4f}",
        f"{row.load_s:.1f}",
        f"{row.peak_bytes / MIB:.0f}",
    )


def _load_in_a_fresh_process(chosen: EmbedderSettings) -> dict[str, float]:
    child = subprocess.run(
        [sys.executable, "-m", "benchmarks.backends", "--child", chosen.model_dump_json()],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    measured: dict[str, float] = json.loads(child.stdout)
    return measured


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.backends", description=__doc__)
    parser.add_argument("--texts", type=Path, help="a .jsonl[.gz] file with a key 'text'")
    parser.add_argument("--data", type=Path, help="folder of the reference data, for STS-B")
    parser.add_argument("--markdown", action="store_true", help="print a table of Markdown")
    parser.add_argument("--count", type=int, default=500, help="texts a measurement (500)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.data is not None and not options.data.is_dir():
        parser.error(f"no such folder: {options.data}")
    return options


def _report(rows: Sequence[Row], options: argparse.Namespace, before: Sequence[float]) -> None:
    machine = {
        "cpu": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_before": round(before[0], 1),
        "load_after": round(os.getloadavg()[0], 1),
    }
    print(f"{options.count} texts a measurement, median of {options.rounds} rounds, {machine}")
    print(table(rows, markdown=options.markdown))
    shown = {"machine": machine, "count": options.count, "rows": [asdict(row) for row in rows]}
    print(json.dumps(shown))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
