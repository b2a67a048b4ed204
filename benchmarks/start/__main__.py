"""How long `embedder serve` takes until it is ready, beside two floors.

``python -m benchmarks.start`` starts, in turns, a bare Ray Serve with one replica that does nothing
(HAProxy, ports and variables as the service has them), one with as many replicas as the service,
and the service with an empty data folder; and imports the service's libraries in a fresh process.
The first floor is the bare start with one replica plus the imports. The target is 1.5 times that.
``--processes`` prints when each process of the service began, and its processor time until ready.
The last line is one JSON document. Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.start.bare import bare_service
from benchmarks.start.processes import StartedProcess, started_processes
from deployments.launch.services.instances import ServiceInstance, end, services
from tests.ports import free_port

TARGET = 1.5

LIBRARIES = (
    "torch",
    "numpy",
    "tokenizers",
    "safetensors.torch",
    "faiss",
    "fastapi",
    "pydantic",
    "orjson",
    "opentelemetry.sdk.trace",
)
"""What the replicas of the default configuration have imported when they are ready."""


@dataclass(frozen=True, slots=True)
class Start:
    """One start: seconds until it was ready, and the core seconds of all its processes by then."""

    seconds: float
    core_s: float


@dataclass(slots=True)
class Rounds:
    """The starts of every contender, one a round, and the processes of the service's last start."""

    imports: list[Start] = field(default_factory=list)
    bare: list[Start] = field(default_factory=list)
    graph: list[Start] = field(default_factory=list)
    service: list[Start] = field(default_factory=list)
    processes: list[StartedProcess] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """Return the service's seconds by those of the bare start and the imports, by round."""
        turns = zip(self.service, self.bare, self.imports, strict=True)
        return [ours.seconds / (bare.seconds + own.seconds) for ours, bare, own in turns]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table and the JSON line, and return 1 if the target is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--config", type=Path, default=Path("serve_config.yaml"))
    parser.add_argument("--replicas", type=int, default=6, help="of the service (6 on two cores)")
    parser.add_argument("--processes", action="store_true", help="print those of the last start")
    options = parser.parse_args(arguments)
    rounds = Rounds()
    for _ in range(options.rounds):
        rounds.imports.append(imports())
        rounds.bare.append(_started(partial(bare_service, 1), rounds))
        rounds.graph.append(_started(partial(bare_service, options.replicas), rounds))
        rounds.service.append(_started(partial(served, options.config), rounds))
    print(table(rounds, options.replicas))
    if options.processes:
        print(process_table(rounds.processes))
    print(json.dumps(asdict(rounds) | {"ratios": rounds.ratios}))
    return 0 if statistics.median(rounds.ratios) <= TARGET else 1


def imports(libraries: Sequence[str] = LIBRARIES) -> Start:
    """Import libraries in a fresh process."""
    code = f"import resource,{','.join(libraries)};u=resource.getrusage(resource.RUSAGE_SELF);"
    began = time.perf_counter()
    printed = subprocess.run(
        [sys.executable, "-c", f"{code}print(u.ru_utime+u.ru_stime)"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    return Start(time.perf_counter() - began, float(printed))


def table(rounds: Rounds, replicas: int) -> str:
    """Lay the medians out for people."""
    named = {
        "imports of the libraries": rounds.imports,
        "Ray Serve, 1 empty replica": rounds.bare,
        f"Ray Serve, {replicas} empty replicas": rounds.graph,
        "embedder serve": rounds.service,
    }
    lines = [f"{'start':30}{'seconds':>9}{'spread':>13}{'core seconds':>14}"]
    for name, starts in named.items():
        seconds = [start.seconds for start in starts]
        spread = f"{min(seconds):.1f}–{max(seconds):.1f}"
        core = statistics.median(start.core_s for start in starts)
        lines.append(f"{name:30}{statistics.median(seconds):9.1f}{spread:>13}{core:14.1f}")
    ratio = statistics.median(rounds.ratios)
    lines.append(f"embedder serve by imports and 1 empty replica: {ratio:.2f}, at most {TARGET}")
    return "\n".join(lines)


def process_table(processes: Sequence[StartedProcess]) -> str:
    """Lay the processes out in the order of their start."""
    lines = [f"{'began, s':>9}{'core s':>8}  process"]
    lines += [f"{one.began_s:9.1f}{one.core_s:8.2f}  {one.command[:80]}" for one in processes]
    return "\n".join(lines)


def _started(start: Callable[[], AbstractContextManager[ServiceInstance]], rounds: Rounds) -> Start:
    """Start a contender, read the costs of its processes, and end it."""
    began = time.perf_counter()
    with start() as service:
        seconds = time.perf_counter() - began
        rounds.processes = started_processes([service.starter, *service.processes()])
        core_s = sum(one.core_s for one in rounds.processes if one.id != os.getpid())
        return Start(seconds, core_s)


@contextmanager
def served(config: Path) -> Iterator[ServiceInstance]:
    """Run `embedder serve` with an empty data folder; yield once it is ready, and end it.

    Raises:
        RuntimeError: it ended while starting.
    """
    port = free_port()
    with TemporaryDirectory(prefix="embedder-data-") as folder:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("embedder"), "serve", config, "--port", str(port)],
            env={**os.environ, "EMBEDDER_DATA_DIRECTORY": folder},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        with process:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise RuntimeError(f"it ended with status {process.wait()}")
            service = next(one for one in services() if one.starter == process.pid)
            try:
                yield service
            finally:
                end(service)
                process.terminate()


if __name__ == "__main__":
    sys.exit(main())
