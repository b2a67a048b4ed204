"""The private memory of an encoder, beside a process that has only imported the same libraries.

``python -m benchmarks.private_memory`` loads the default model as an encoder replica does, embeds
texts in batches of many sizes, and reads ``Private_Dirty`` of ``/proc/PID/smaps_rollup`` after each
step. The floor is a fresh process that imports the same third-party modules and computes one
product. The target is at most 100 MB above it. ``--backend`` and ``--dtype`` are those of the
settings. The last line is one JSON document. Needs Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embedder.core.types import TokenBatch, Truncate
from embedder.measurements.host import return_freed_memory

MB = 1_000_000
TARGET_MB = 100.0
OWN = ("embedder", "deployments", "benchmarks", "tests", "__")
TEXTS = 1500
MOST_TEXTS = 60
"""Texts of a batch; each batch has another number of them, as those of a service have."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table and the JSON line, and return 1 if the target is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.private_memory", description=__doc__)
    parser.add_argument("--backend", default="auto", help="as backend.name (auto)")
    parser.add_argument("--dtype", default="auto", help="as backend.dtype (auto)")
    parser.add_argument("--child", choices=("encoder", "floor"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child == "encoder":
        print(json.dumps(encoder_steps(options.backend, options.dtype)))
        return 0
    if options.child == "floor":
        print(json.dumps(floor(json.load(sys.stdin))))
        return 0
    stated = ["--backend", options.backend, "--dtype", options.dtype]
    encoder = _child("encoder", stated)
    floor_mb = _child("floor", stated, json.dumps(encoder["modules"]))
    print(table(floor_mb, encoder["steps"]))
    print(json.dumps({"floor_mb": floor_mb, **encoder, "modules": len(encoder["modules"])}))
    return 0 if encoder["steps"][-1][1] - floor_mb <= TARGET_MB else 1


def table(floor_mb: float, steps: Sequence[tuple[str, float]]) -> str:
    """Lay the steps out for people, in MB."""
    lines = [f"{'private dirty memory after':34}{'MB':>8}{'above the floor':>17}"]
    lines.append(f"{'imports and one product: the floor':34}{floor_mb:8.0f}")
    lines += [f"{name:34}{mb:8.0f}{mb - floor_mb:17.0f}" for name, mb in steps]
    return "\n".join(lines)


def encoder_steps(backend: str, dtype: str) -> dict[str, Any]:
    """Load and use a model as an encoder replica does; return the memory after each step."""
    from benchmarks.texts import sample
    from deployments.encoder import replica  # noqa: F401 - what the process of a replica imports
    from embedder.inference.loading import load_model, load_tokenizer
    from embedder.models.files import ModelFiles
    from embedder.settings.model import EmbedderSettings

    stated = {"name": backend, "dtype": dtype, "threads": 1, "shared_weights": True}
    settings = EmbedderSettings.model_validate({"backend": stated})
    model = load_model(settings)
    steps = [("load", private_mb())]
    tokenizer = load_tokenizer(ModelFiles.open(settings.model))
    texts, random = sample(TEXTS, seed=0), np.random.default_rng(0)
    for name in ("batches of many sizes", "as many again"):
        for count in random.integers(1, MOST_TEXTS, size=4 * TEXTS // MOST_TEXTS):
            chosen = [texts[at] for at in random.integers(0, TEXTS, size=count)]
            model.backend.encode(tokenizer.encode(chosen, truncate=Truncate.END).tokens)
        steps.append((name, private_mb()))
    model.backend.encode(TokenBatch.of([[0]]))
    return_freed_memory()
    steps.append(("returning freed memory", private_mb()))
    modules = [name for name in sys.modules if not name.startswith(OWN)]
    described = {"backend": model.info.backend, "dtype": model.info.dtype}
    return {"steps": steps, "modules": modules, **described}


def floor(modules: Sequence[str]) -> float:
    """Import modules, compute one product and return the private memory of this process in MB."""
    for name in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(1)
        rows = torch.ones(8, 8)
        torch.nn.functional.linear(rows, rows)
        torch.nn.functional.linear(rows.bfloat16(), rows.bfloat16())
    return private_mb()


def private_mb(process: Path = Path("/proc/self")) -> float:
    """Return the memory that only one process uses and has written, in MB."""
    lines = (process / "smaps_rollup").read_text().splitlines()[1:]
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["Private_Dirty"].split()[0]) * 1024 / MB


def _child(kind: str, stated: Sequence[str], given: str = "") -> Any:
    printed = subprocess.run(
        [sys.executable, "-m", "benchmarks.private_memory", "--child", kind, *stated],
        input=given,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    return json.loads(printed.splitlines()[-1])


if __name__ == "__main__":
    sys.exit(main())
