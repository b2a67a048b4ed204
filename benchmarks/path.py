"""Where a request spends processor time: by the parts of the service, and in the ingress by step.

``python -m benchmarks.path`` starts a service and a no-op beside it, and loads them: one cached
text, one text alone, one text by 32 clients, 32 texts by four. Of each load it prints the
microseconds a text in each part, from ``/proc``. Then py-spy, which comes with Ray, samples the
ingress under the same load; the second table divides its time by the source file of the innermost
function that has a step.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.bench.client import Load
from benchmarks.bench.contenders import Server
from benchmarks.bench.inputs import Supply
from benchmarks.bench.lines import LineProcess
from benchmarks.bench.noop import PREFIX
from benchmarks.bench.processor import core_seconds, difference
from benchmarks.service import service_with_noop
from benchmarks.texts import sample
from deployments.launch.service_process import ServiceProcess

WARM_S = 1.5
SAMPLES_PER_S = 200
ANSWER_S = 120.0
MOST_TEXTS_PER_S = 4000

STEPS: Mapping[str, tuple[str, ...]] = {
    "parse": ("routing/", "wire/inputs", "wire/fields", "wire/json_parsing", "pydantic"),
    "middleware": ("ingress/middleware/",),
    "write": ("wire/", "openai/", "starlette/"),
    "model": ("embedder/backends/", "torch/"),
    "tokenize": ("inference/tokeni", "tokenizer/", "embedder/core/types"),
    "cache": ("embedder/cache/", "deployments/cache/", "core/entries/", "pipeline/fingerprint"),
    "admission": ("pipeline/admission", "pipeline/throughput", "pipeline/reservations"),
    "gather": ("embedder/batching/", "deployments/encoder/", "embedder/inference/"),
    "pipeline": ("embedder/", "ingress/service/"),
    "hop": ("deployments/rpc/", "/ray/", "/grpc/"),
    "server": ("uvicorn/", "httptools", "asyncio/", "deployments/"),
}
"""Parts of the paths of source files by step; of several that match, the first one counts."""

OTHER = "other"


@dataclass(frozen=True, slots=True)
class Case:
    """One load; ``cached`` texts are sent again and again."""

    name: str
    clients: int
    size: int = 1
    cached: bool = False
    prefix: str = ""


CASES = (
    Case("no-op like cached, c=32", 32, cached=True, prefix=PREFIX),
    Case("cached, c=32", 32, cached=True),
    Case("1 text, c=1", 1),
    Case("1 text, c=32", 32),
    Case("32 texts, c=4", 4, size=32),
)


def step_of(stack: str) -> str:
    """Return the step of a sampled stack, whose frames are separated by semicolons."""
    for frame in reversed(stack.split(";")):
        for step, parts in STEPS.items():
            if any(part in frame for part in parts):
                return step
    return OTHER


def steps_of(lines: Iterable[str]) -> Counter[str]:
    """Return the samples by step, from lines with a stack and the number of its samples."""
    found: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        if stack:
            found[step_of(stack)] += int(count)
    return found


class Bench:
    """Loads a running service; texts that are not cached are never sent twice."""

    def __init__(self, launch: ServiceProcess, client: LineProcess, seconds: float) -> None:
        self._launch = launch
        self._client = client
        self._seconds = seconds
        self._supply = Supply(sample(4000, seed=0))
        self._repeated = sample(256, seed=1)

    def load(self, case: Case) -> tuple[int, float, float]:
        """Return the texts sent in all, the texts a second, and the median latency in ms."""
        server = Server(self._launch.url, f"{case.prefix}/v1/embeddings", "/healthz")
        count = int(MOST_TEXTS_PER_S * (WARM_S + self._seconds))
        texts = self._repeated if case.cached else self._supply.offer(count)
        load = Load(
            server.url,
            server.path,
            texts,
            size=case.size,
            clients=case.clients,
            warm_s=WARM_S,
            seconds=self._seconds,
            again=case.cached,
        )
        answer = self._client.ask(asdict(load), timeout_s=ANSWER_S)
        sent = int(answer["sent"]) * case.size
        if not case.cached:
            self._supply.spent(sent)
        figures = answer["figures"]
        return sent, float(figures["per_s"]), float(figures["p50_ms"] or 0.0)

    def costs(self, case: Case) -> tuple[dict[str, float], float, float]:
        """Return the microseconds a text by part, the texts a second, and the median in ms."""
        processes = self._launch.service.processes
        before = core_seconds(processes())
        sent, per_s, p50_ms = self.load(case)
        taken = difference(before, core_seconds(processes()))
        return {part: 1e6 * core_s / sent for part, core_s in taken.items()}, per_s, p50_ms

    def steps(self, case: Case, folder: Path) -> Counter[str]:
        """Return the samples of the ingress by step, under the load of a case."""
        output = folder / "stacks.txt"
        command = [
            *(str(Path(sys.executable).with_name("py-spy")), "record", "--format", "raw"),
            *("--pid", str(_ingress(self._launch.service.processes()))),
            *("--duration", str(max(1, int(self._seconds))), "--rate", str(SAMPLES_PER_S)),
            *("--output", str(output), "--full-filenames", "--nonblocking"),
        ]
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as sampler:
            self.load(case)
            sampler.wait(ANSWER_S)
        return steps_of(output.read_text().splitlines()) if output.exists() else Counter()


def main() -> None:
    """Measure, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one load")
    parser.add_argument("--config", type=Path, default=Path("serve_config.yaml"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="embedder-path-") as name:
        folder = Path(name)
        client = [sys.executable, "-m", "benchmarks.bench.client"]
        with (
            service_with_noop(options.config) as launch,
            LineProcess(
                client, log=folder / "client.log", environment=os.environ, start_s=60.0
            ) as process,
        ):
            bench = Bench(launch, process, options.seconds)
            bench.load(CASES[-1])  # loads what is loaded at first use
            bench.load(CASES[1])  # computes the texts that are cached from then on
            costs = {case.name: bench.costs(case) for case in CASES}
            steps = {case.name: bench.steps(case, folder) for case in CASES[1:]}
    _print_costs(costs)
    _print_steps(costs, steps)


def _ingress(processes: Iterable[int]) -> int:
    """Return the process of an ingress.

    Raises:
        RuntimeError: there is none.
    """
    for process in processes:
        command = Path(f"/proc/{process}/cmdline").read_bytes()
        if command.startswith(b"ray::ServeReplica") and b":Ingress" in command:
            return process
    raise RuntimeError("no process of an ingress")


def _print_costs(costs: Mapping[str, tuple[dict[str, float], float, float]]) -> None:
    parts = sorted({part for found, _, _ in costs.values() for part in found})
    print("microseconds of processor time a text, by part of the service")
    print(f"{'':26}{'per s':>8}{'p50, ms':>9}" + "".join(f"{part:>15}" for part in parts))
    for name, (found, per_s, p50_ms) in costs.items():
        cells = "".join(f"{found.get(part, 0.0):15.0f}" for part in parts)
        print(f"{name:26}{per_s:8.0f}{p50_ms:9.1f}{cells}")


def _print_steps(
    costs: Mapping[str, tuple[dict[str, float], float, float]], steps: Mapping[str, Counter[str]]
) -> None:
    columns = [step for step in (*STEPS, OTHER) if any(found[step] for found in steps.values())]
    print("share of the samples of the ingress, by step, in percent")
    print(f"{'':26}" + "".join(f"{step:>11}" for step in columns))
    for name, found in steps.items():
        total = max(1, found.total())
        print(f"{name:26}" + "".join(f"{100 * found[step] / total:11.1f}" for step in columns))


if __name__ == "__main__":
    main()
