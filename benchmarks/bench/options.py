"""What the command line of the harness says."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench.results import CONTENDERS


@dataclass(frozen=True, slots=True)
class Options:
    """The durations, the texts and the contenders of a run.

    ``seconds`` is the window of a closed loop and the least time in process; an open loop takes
    ``open_s``, and each server is warmed up for ``warm_up_s``, so that autoscaling is over.
    """

    texts: Path | None
    count: int
    rounds: int
    seconds: float
    open_s: float
    warm_up_s: float
    only: tuple[str, ...]
    config: Path
    seed: int
    encoding: str
    results: Path


def parse(arguments: Sequence[str] | None) -> Options:
    """Read the command line; ``--quick`` only proves that every contender works."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.bench",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--texts", type=Path, help="a .jsonl[.gz] file with a key 'text'")
    parser.add_argument("--count", type=int, default=384, help="texts of a kind, in process")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.5, help="of one measurement")
    parser.add_argument("--only", nargs="+", choices=tuple(CONTENDERS), default=tuple(CONTENDERS))
    parser.add_argument("--config", type=Path, default=Path("serve_config.yaml"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--encoding", choices=("base64", "float"), default="base64")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--quick", action="store_true", help="one short round of everything")
    chosen = parser.parse_args(arguments)
    quick: bool = chosen.quick
    return Options(
        texts=chosen.texts,
        count=min(chosen.count, 128) if quick else chosen.count,
        rounds=1 if quick else chosen.rounds,
        seconds=1.5 if quick else chosen.seconds,
        open_s=3.0 if quick else 2.5 * chosen.seconds,
        warm_up_s=6.0 if quick else 15.0,
        only=tuple(chosen.only),
        config=chosen.config,
        seed=chosen.seed,
        encoding=chosen.encoding,
        results=chosen.results,
    )
