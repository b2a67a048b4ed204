"""Measure this service beside its peers; print a table, and a JSON line at the end.

The exit status is 1 where a contender that was asked for failed or is missing; a target that is
missed is only marked.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from benchmarks import ceiling
from benchmarks.bench import report
from benchmarks.bench.contenders import Setting, start
from benchmarks.bench.inputs import Inputs, inputs_of
from benchmarks.bench.lines import LineProcess
from benchmarks.bench.measuring import Bench, say
from benchmarks.bench.options import Options, parse
from benchmarks.bench.plots import draw
from benchmarks.bench.results import CONTENDERS, Results
from benchmarks.bench.sending import Sender
from benchmarks.bench.targets import verdicts
from embedder.backends.torch.kernels import supports_onednn
from embedder.models.files import ModelFiles
from embedder.settings.model import ModelSettings

CPU = torch.device("cpu")
BUSY = 0.5
"""A load of the last minute above which figures are in doubt."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all contenders, and report."""
    options = parse(arguments)
    logs = options.results / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    files = ModelFiles.open(ModelSettings(offline=True))
    inputs = inputs_of(files, options.count, seed=options.seed, path=options.texts)
    before = os.getloadavg()[0]
    if before > BUSY:
        say(
            f"the machine is busy (load {before:.1f}): what has many threads suffers most from that"
        )
    setting = Setting(files.weights[0].parent, options.config, logs)
    with LineProcess(
        [sys.executable, "-m", "benchmarks.bench.client"],
        log=logs / "client.log",
        environment=os.environ,
        start_s=60.0,
    ) as client:
        bench = Bench(
            options,
            inputs,
            lambda name: start(name, setting),
            Sender(client, options, inputs.pool.texts),
            _ceiling(files),
            ceiling.operations_a_token(files.config),
        )
        results = bench.measure()
    _report(results, options, _run(options, inputs, bench.about, before))
    return int(any(row.reason is not None for row in results))


def _ceiling(files: ModelFiles) -> Callable[[], float]:
    """Return a function that finds the ceiling in the encoder's number format on this machine."""
    dtype = torch.bfloat16 if supports_onednn(torch.bfloat16, CPU) else torch.float32
    products = ceiling.products(files.config, dtype)
    return lambda: ceiling.gflops(products, files.config)


def _run(
    options: Options, inputs: Inputs, about: Mapping[str, Mapping[str, Any]], before: float
) -> dict[str, Any]:
    """Return the machine, the options and the texts of the run, for JSON."""
    return {
        "machine": report.machine(before),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "encoding": options.encoding,
        "seed": options.seed,
        "texts": {
            "from": "made up" if options.texts is None else options.texts.name,
            "tokens_10_50_90_99": list(inputs.quantiles),
            "tokens_a_text": {
                kind.name: round(kind.tokens_a_text, 1) for kind in (*inputs.kinds, inputs.pool)
            },
        },
        "contenders": {name: {"what": CONTENDERS[name], **said} for name, said in about.items()},
    }


def _report(results: Results, options: Options, run: dict[str, Any]) -> None:
    judged = verdicts(results)
    for picture in draw(results, options.results):
        say(f"wrote {picture}")
    line = report.line(report.document(results, judged, run))
    (options.results / "bench.json").write_text(f"{line}\n", encoding="utf-8")
    print(f"medians of {options.rounds} rounds, {run['machine']}, texts {run['texts']}")
    print(report.table(results, judged))
    print(line)


if __name__ == "__main__":
    sys.exit(main())
