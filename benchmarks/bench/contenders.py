"""The contenders: encoders in processes of their own, and servers on ports of their own.

Each is a context manager that starts it and ends it, or raises `NotMeasured`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.bench.client import MODEL
from benchmarks.bench.figures import Figures
from benchmarks.bench.lines import STOP_S, LineProcess, NotMeasured, last_words
from benchmarks.bench.noop import PREFIX
from benchmarks.bench.results import EMBEDDER, INFINITY, INFINITY_ONNX, ONNX, SERVICE, ST
from benchmarks.bench.vectors import DIRECT, of_base64, over_http
from benchmarks.service import service_with_noop
from embedder.core.errors import ConfigurationError
from embedder.core.types import Vectors
from tests.ports import free_port

ENVIRONMENTS = Path(".venv-bench")
WORKER = Path(__file__).parents[1] / "peers" / "worker.py"
START_S = 180.0
ANSWER_S = 300.0

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "INFINITY_ANONYMOUS_USAGE_STATS": "0",
}
"""All have the model already, and no peer sends statistics of its use."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What contenders need to start."""

    model: Path
    config: Path
    logs: Path


@dataclass(frozen=True, slots=True)
class Encoder:
    """A contender in process, which answers as `benchmarks.peers.worker` does."""

    process: LineProcess

    @property
    def about(self) -> Mapping[str, Any]:
        """Return its description of itself."""
        return self.process.about

    def rate(self, texts: list[str], seconds: float) -> Figures:
        """Embed the texts again and again for at least ``seconds``.

        Raises:
            NotMeasured: it broke.
        """
        question = {"texts": texts, "seconds": seconds}
        return Figures(float(self.process.ask(question, timeout_s=ANSWER_S)["texts_per_s"]))

    def vectors(self, texts: list[str]) -> Vectors:
        """Return float32[n, width].

        Raises:
            NotMeasured: it broke.
        """
        answer = self.process.ask({"vectors": texts}, timeout_s=ANSWER_S)
        return of_base64(answer["vectors"]).reshape(len(texts), int(answer["width"]))


@dataclass(frozen=True, slots=True)
class Server:
    """A contender over HTTP; ``noop`` is the cheapest path that it answers.

    ``like_cached`` is the path of a no-op beside it; ``processes`` returns the ids of its
    processes, None where its processor time is not measured.
    """

    url: str
    path: str
    noop: str
    like_cached: str | None = None
    processes: Callable[[], list[int]] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def vectors(self, texts: list[str]) -> Vectors:
        """Return float32[n, width].

        Raises:
            NotMeasured: it did not answer with vectors.
        """
        return over_http(f"{self.url}{self.path}", texts)


Contender = Encoder | Server


def start(name: str, setting: Setting) -> AbstractContextManager[Contender]:
    """Return a context in which the contender of this name runs.

    Raises:
        NotMeasured: when entered, if it cannot be started.
    """
    if name == INFINITY:
        return _infinity(name, setting, setting.model)
    if name == INFINITY_ONNX:
        return _infinity(name, setting, _exported(setting), *("--engine", "optimum"))
    if name == SERVICE:
        return _service(setting)
    command = {
        ST: lambda: [_python(ST), "-I", str(WORKER), str(setting.model)],
        ONNX: lambda: [_python(ST), "-I", str(WORKER), str(setting.model), "--backend", "onnx"],
        EMBEDDER: lambda: [sys.executable, "-m", "benchmarks.bench.own_worker"],
    }[name]
    return _encoder(setting.logs / f"{name}.log", command)


@contextmanager
def _encoder(log: Path, command: Callable[[], list[str]]) -> Iterator[Encoder]:
    with LineProcess(
        command(), log=log, environment=os.environ | OFFLINE, start_s=START_S
    ) as process:
        yield Encoder(process)


@contextmanager
def _service(setting: Setting) -> Iterator[Server]:
    try:
        with service_with_noop(setting.config) as launch:
            yield Server(
                launch.url,
                "/v1/embeddings",
                "/healthz",
                f"{PREFIX}/v1/embeddings",
                launch.service.processes,
            )
    except ConfigurationError as error:
        raise NotMeasured(str(error).splitlines()[-1]) from error


def _exported(setting: Setting) -> Path:
    """Return a folder with the model and its export to ONNX, which sentence-transformers makes.

    Raises:
        NotMeasured: it cannot be made.
    """
    folder, log = setting.logs.parent / "exported", setting.logs / "export.log"
    if not (folder / "onnx" / "model.onnx").exists():
        with log.open("wb") as output:
            command = [_python(ST), "-c", _EXPORT, str(setting.model), str(folder)]
            done = subprocess.run(
                command, stdout=output, stderr=output, env=os.environ | OFFLINE, check=False
            )
        if done.returncode:
            raise NotMeasured(f"no export to ONNX: {last_words(log)}")
    return folder


_EXPORT = """
import sys, sentence_transformers
model = sentence_transformers.SentenceTransformer(sys.argv[1], backend="onnx", device="cpu")
model.save_pretrained(sys.argv[2])
"""


@contextmanager
def _infinity(name: str, setting: Setting, model: Path, *engine: str) -> Iterator[Server]:
    port, log = free_port(), setting.logs / f"{name}.log"
    command = [
        *(str(Path(_python(INFINITY)).with_name("infinity_emb")), "v2"),
        *("--model-id", str(model), "--served-model-name", MODEL),
        *("--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"),
        *("--device", "cpu", "--no-bettertransformer", *(engine or ("--engine", "torch"))),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | OFFLINE)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(process, f"{url}/health", log)
        yield Server(url, "/embeddings", "/health")
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise NotMeasured(f"it ended while starting: {last_words(log)}")
        try:
            with DIRECT.open(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.25)
    raise NotMeasured(f"not ready within {START_S:.0f} s: {last_words(log)}")


def _python(peer: str) -> str:
    """Return the Python of a peer's environment.

    Raises:
        NotMeasured: it is not installed; the log of the installation says why.
    """
    folder = ENVIRONMENTS / peer
    if not (folder / ".installed").exists():
        raise NotMeasured(f"not installed: {last_words(ENVIRONMENTS / f'{peer}.log')}")
    # Not resolved: a link that is followed to its end leaves the environment.
    return str((folder / "bin" / "python").absolute())
