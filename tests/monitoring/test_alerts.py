"""A real Prometheus beside a service: every panel has data, and a lost stage raises its alert.

Takes minutes: ``TEST_MONITORING=1`` runs it. The rules are those of ``monitoring/``, but are
evaluated more often and fire sooner.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.operations.monitoring.expressions import CONFIG_FILE, RULES_FILE, read_document
from deployments.operations.monitoring.prometheus import Prometheus
from tests.cluster.service import ROOT, RunningService
from tests.drill.faults import CONTROLLER, HAPROXY, REPLICA
from tests.monitoring.load import send
from tests.ports import free_port

pytestmark = [
    pytest.mark.skipif(
        "TEST_MONITORING" not in os.environ, reason="takes minutes; TEST_MONITORING=1 runs it"
    ),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed"),
]

LOAD_S = 30.0
DATA_S = 90.0
"""Seconds until every series must be there: Ray's exporter renews its values every 10 s."""

ALERT_S = 120.0
BACK_S = 240.0
SCRAPE_S = 2

ARGUMENTS: dict[str, Any] = {
    "ingress": {"min_replicas": 1, "max_replicas": 1},
    # Every request passes through every stage.
    "tokenizer": {"min_replicas": 1, "max_replicas": 1, "placement": "remote"},
    "encoder": {"pools": [{"name": name, "replicas": 1} for name in ("one", "two")]},
}

ALERTS = {
    "Ingress": "IngressDown",
    "Tokenizer": "TokenizerDown",
    "Encoder-one": "EncoderDown",
    "Encoder-two": "EncoderDown",
    "EmbeddingCache-0": "EmbeddingCacheDown",
    "VectorIndex-0": "VectorIndexDown",
}


@dataclass(frozen=True, slots=True)
class Watched:
    """A service, the Prometheus beside it, and the folder with its rules."""

    service: RunningService
    prometheus: Prometheus
    files: Path

    def monitor(self, *arguments: str) -> list[str]:
        """Return the command `embedder monitor` for them."""
        program = str(Path(sys.executable).with_name("embedder"))
        port = self.prometheus.address.rpartition(":")[2]
        options = ["--address", self.service.url, "--prometheus-port", port]
        return [program, "monitor", *options, "--files", str(self.files), *arguments]

    def firing(self, alert: str, **labels: str) -> bool:
        """Return whether an alert fires with these labels."""
        wanted = {"alertname": alert, "alertstate": "firing", **labels}
        matchers = ",".join(f'{name}="{value}"' for name, value in wanted.items())
        return bool(self.prometheus.query(f"ALERTS{{{matchers}}}"))

    def kill_until(self, title: str, condition: Callable[[], bool]) -> float:
        """Kill processes with a title as they come; return the seconds until the condition."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() < began + ALERT_S, f"{title}: no alert in {ALERT_S} s"
            for pid in self.service.titled(title):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.5)
        return time.monotonic() - began


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Yield a service of one replica a stage, beside a Prometheus with faster rules."""
    folder = tmp_path_factory.mktemp("watched")
    service = RunningService(folder, None, **ARGUMENTS)
    try:
        service.wait()
        watched = Watched(service, Prometheus(free_port()), _faster_files(folder / "files"))
        with subprocess.Popen(
            watched.monitor(), env=service.environment, cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline().startswith("Prometheus reads the service")
                yield watched
            finally:
                process.send_signal(signal.SIGTERM)
        assert process.returncode == 0
    finally:
        service.stop()


def _faster_files(folder: Path) -> Path:
    """Return a copy of ``monitoring/`` in which rules are evaluated often and alerts fire soon."""
    shutil.copytree(ROOT / "monitoring", folder)
    config, rules = read_document(folder, CONFIG_FILE), read_document(folder, RULES_FILE)
    config["global"] = {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": f"{SCRAPE_S}s"}
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        rule["for"] = f"{SCRAPE_S}s"
    (folder / CONFIG_FILE).write_text(yaml.safe_dump(config))
    (folder / RULES_FILE).write_text(yaml.safe_dump(rules))
    return folder


def test_every_panel_and_alert_has_data_after_a_short_load(watched: Watched) -> None:
    sent = send(watched.service.url, LOAD_S)
    ends = time.monotonic() + DATA_S
    while True:
        command = watched.monitor("--check")
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode == 0 or time.monotonic() > ends:
            break
        time.sleep(SCRAPE_S)

    print(f"\n{sent} requests in {LOAD_S:.0f} s", done.stdout, done.stderr, sep="\n")
    assert done.returncode == 0


@pytest.mark.parametrize("stage", ALERTS)
def test_killing_a_stage_raises_the_alert_that_names_it(watched: Watched, stage: str) -> None:
    _wait_until_quiet(watched)
    seconds = watched.kill_until(
        f"{REPLICA}{stage}", lambda: watched.firing(ALERTS[stage], deployment=stage)
    )

    print(f"\n{ALERTS[stage]} names {stage} after {seconds:.0f} s")
    others = {other for other in ALERTS if watched.firing(ALERTS[other], deployment=other)}
    assert others == {stage}
    assert watched.firing("ReplicaLost", deployment=stage)


@pytest.mark.parametrize(
    ("title", "alert"), [(HAPROXY, "HAProxyDown"), (CONTROLLER, "ControllerDown")]
)
def test_killing_what_is_no_stage_raises_its_alert(
    watched: Watched, title: str, alert: str
) -> None:
    _wait_until_quiet(watched)
    seconds = watched.kill_until(title, lambda: watched.firing(alert))

    print(f"\n{alert} after {seconds:.0f} s")


def test_all_alerts_about_stages_end_when_the_stages_are_back(watched: Watched) -> None:
    _wait_until_quiet(watched)


def _wait_until_quiet(watched: Watched) -> None:
    names = "|".join([*ALERTS.values(), "HAProxyDown", "ControllerDown"])
    ends = time.monotonic() + BACK_S
    while watched.prometheus.query(f'ALERTS{{alertname=~"{names}"}}'):
        assert time.monotonic() < ends, "an alert stays"
        time.sleep(SCRAPE_S)
