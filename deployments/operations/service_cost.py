"""Measure what a service on this machine takes beside the model's computation.

The service starts for the measurement, with an empty data folder. Its ingress encodes nothing
itself, so that the processor time of each process belongs to one stage.
"""

from __future__ import annotations

import http.client
import json
import socket
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from deployments.launch.child_process import launched
from deployments.launch.preflight import IMPORT_PATH
from deployments.operations.process_costs import NODE, PROXY, process_costs
from embedder.core.errors import Unavailable
from embedder.planning.calibration import ServiceCost
from embedder.settings.model import EmbedderSettings

READY_S = 300.0
TIMEOUT_S = 60.0

ALONE = 500
"""Requests that come one at a time; as many more go before, which are not counted."""

CLIENTS = 32
"""Clients at once: enough for several texts in a batch, as under load."""

SENTENCE = "vectors of short texts such as questions and headlines are compared by their angle"


def measure_service(settings: EmbedderSettings, *, seconds: float = 10.0) -> ServiceCost:
    """Start a service with these settings, load it for ``seconds``, stop it, and return its cost.

    Raises:
        ConfigurationError: the service cannot start.
        Unavailable: a request fails.
    """
    with tempfile.TemporaryDirectory(prefix="embedder-data-") as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
        probe.close()
        config = Path(folder, "serve_config.yaml")
        config.write_text(yaml.safe_dump(document(settings, folder)))
        with launched(config, port=port) as launch:
            launch.wait_until_ready(READY_S, lambda missing: None)
            return running_cost(launch.url, launch.service.processes, seconds)


def document(settings: EmbedderSettings, folder: str) -> dict[str, Any]:
    """Return a Serve configuration with one replica of each stage, and files in ``folder``."""
    arguments = settings.model_dump(mode="json", exclude_defaults=True)
    arguments |= {
        "data_directory": folder,
        "ingress": {"max_replicas": 1},
        "tokenizer": {"max_replicas": 1},
        "encoder": {"placement": "remote", "replicas": 1},
    }
    application = {
        "name": "embedder",
        "route_prefix": "/",
        "import_path": IMPORT_PATH,
        "args": arguments,
    }
    return {"logging_config": {"enable_access_log": False}, "applications": [application]}


class Client:
    """Sends distinct texts, one a request, on one connection."""

    def __init__(self, url: str, numbers: Callable[[], int]) -> None:
        address = urlsplit(url)
        self._connection = http.client.HTTPConnection(
            address.hostname or "", address.port, timeout=TIMEOUT_S
        )
        self._numbers = numbers

    def embed(self) -> tuple[float, int]:
        """Return the seconds of one request, and the tokens of its text."""
        began = time.perf_counter()
        answer = self.ask("POST", "/v1/embeddings", {"input": f"{SENTENCE} {self._numbers()}"})
        return time.perf_counter() - began, int(answer["usage"]["total_tokens"])

    def embed_until(self, ends: float) -> int:
        """Send at least one request, until a moment of `time.perf_counter`; return how many."""
        self.embed()
        sent = 1
        while time.perf_counter() < ends:
            self.embed()
            sent += 1
        return sent

    def batches(self) -> tuple[int, float]:
        """Return the number of the encoders' batches, and the seconds that these took."""
        encoders = self.ask("GET", "/v1/stats")["encoders"]
        models = [model for encoder in encoders for model in encoder.get("models", ())]
        # A replica that is starting answers with a problem, or has no batches yet.
        stats = [model["batching"] for model in models if model["batching"] is not None]
        return sum(one["batches"] for one in stats), sum(one["busy_s"] for one in stats)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Return the parsed answer.

        Raises:
            Unavailable: there is none, or its status is not 200.
        """
        try:
            self._connection.request(
                method, path, json.dumps(body), {"content-type": "application/json"}
            )
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"the measured service does not answer: {error!r}") from error
        if response.status != 200:
            raise Unavailable(f"the measured service answers {response.status}: {content!r:.200}")
        return json.loads(content)


def running_cost(
    url: str, processes: Callable[[], Iterable[int]], seconds: float, alone_requests: int = ALONE
) -> ServiceCost:
    """Load a running service for ``seconds`` and return its cost.

    ``processes`` returns the ids of its processes, which are all on this machine.

    Raises:
        Unavailable: a request fails.
    """
    numbers = count().__next__
    with ExitStack() as stack, ThreadPoolExecutor(CLIENTS) as pool:
        clients = [stack.enter_context(closing(Client(url, numbers))) for _ in range(CLIENTS)]
        alone = clients[0]
        answers = [alone.embed() for _ in range(2 * alone_requests)][alone_requests:]
        (batches, busy_s), before = alone.batches(), process_costs(processes())
        began = time.perf_counter()
        requests = sum(pool.map(Client.embed_until, clients, [began + seconds] * CLIENTS))
        elapsed_s = time.perf_counter() - began
        (all_batches, all_busy_s), used = alone.batches(), process_costs(processes())
    latencies = sorted(latency for latency, _ in answers)
    core_s = {stage: used.core_s[stage] - before.core_s[stage] for stage in used.core_s}
    idle_s = used.count["Encoder"] * elapsed_s - (all_busy_s - busy_s)
    each = {stage: total // used.count[stage] for stage, total in used.memory_bytes.items()}
    return ServiceCost(
        text_tokens=sum(tokens for _, tokens in answers) / len(answers),
        ingress_s=core_s["Ingress"] / requests,
        haproxy_s=core_s.get(PROXY, 0.0) / requests,
        call_s=max(0.0, idle_s) / max(1, all_batches - batches),
        alone_p99_s=latencies[len(latencies) * 99 // 100],
        node_cores=core_s[NODE] / elapsed_s,
        ingress_bytes=each["Ingress"],
        tokenizer_bytes=each["Tokenizer"],
        encoder_bytes=each["Encoder"],
        node_bytes=used.memory_bytes[NODE] + used.memory_bytes[PROXY],
    )
