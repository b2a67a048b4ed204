"""The running service exports the metrics of the catalogue, whatever clients send."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from deployments.ingress.asgi import ROUTES
from deployments.ingress.errors.responses import ERROR_CODES
from deployments.metrics.catalogue import CATALOGUE
from deployments.metrics.definition import Kind
from tests.cluster.service import RunningService

EXPORTED_S = 90.0
"""Replicas publish every five seconds, and Ray exports every ten, from each process of a node."""

ADDED = re.compile(r"application$|deployment$|replica$|otel_|[A-Z]")
"""The labels that Serve, its exporter and Ray's processes add."""

PORTS = """
import ray
ray.init(address="auto", log_to_driver=False)
print(*[node["MetricsExportPort"] for node in ray.nodes() if node["Alive"]])
"""

Labels = Mapping[str, set[str]]


class Exporter:
    """The addresses at which the nodes of a service export its metrics."""

    def __init__(self, service: RunningService) -> None:
        done = subprocess.run(
            [sys.executable, "-c", PORTS], env=service.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        self._urls = [f"http://127.0.0.1:{port}/metrics" for port in done.stdout.split()]

    def scrape(self) -> list[Sample]:
        """Return the present series of this project."""
        return [
            sample
            for url in self._urls
            for family in text_string_to_metric_families(httpx.get(url).text)
            for sample in family.samples
            if "embedder_" in sample.name
        ]

    def until(self, ready: Callable[[Sequence[Sample]], object]) -> list[Sample]:
        """Scrape until ``ready`` returns nothing that is missing."""
        deadline = time.monotonic() + EXPORTED_S
        while True:
            samples = self.scrape()
            if not (missing := ready(samples)):
                return samples
            assert time.monotonic() < deadline, missing
            time.sleep(1)


def _names(samples: Sequence[Sample]) -> set[str]:
    return {sample.name for sample in samples}


def _total(samples: Sequence[Sample], name: str, **labels: str) -> float:
    wanted = labels.items()
    return sum(one.value for one in samples if one.name == name and wanted <= one.labels.items())


def _label_values(samples: Sequence[Sample], label: str) -> set[str]:
    return {sample.labels[label] for sample in samples if label in sample.labels}


def _check_labels(samples: Sequence[Sample]) -> None:
    """Check that every series has the labels that the page states."""
    documented = {
        name: {*metric.labels, *(["le"] if name.endswith("_bucket") else [])}
        for metric in CATALOGUE
        for name in metric.series
    }
    for sample in samples:
        own = {label for label in sample.labels if not ADDED.match(label)}
        assert own == documented[sample.name], sample


def _check_values(samples: Sequence[Sample]) -> None:
    """Check that the values of labels are those that the code declares."""
    declared = {one.label for one in ROUTES} | {("other", "other")}
    found = {
        (one.labels["method"], one.labels["route"]) for one in samples if "route" in one.labels
    }
    assert found <= declared
    assert _label_values(samples, "code") == set(ERROR_CODES)
    assert _label_values(samples, "priority") <= {"interactive", "bulk"}
    assert len(_label_values(samples, "model")) < 10
    assert all(re.fullmatch(r"\d{3}", status) for status in _label_values(samples, "status"))


def test_the_exported_metrics_are_those_of_the_catalogue_before_and_after_requests(
    service: RunningService,
) -> None:
    exporter = Exporter(service)
    names = {name for metric in CATALOGUE for name in metric.series}
    before = exporter.until(lambda samples: names - _names(samples))
    assert _names(before) == names
    _check_labels(before)
    _check_values(before)

    with httpx.Client(base_url=service.url) as http:
        for number in range(3):
            http.post("/v1/embeddings", json={"input": f"measured {number}"}).raise_for_status()
        http.post("/v1/embeddings", json={"input": "x", "model": "☃\nnobody's"})
        http.get("/☃/nowhere")
        http.request("INVENTED", "/v1/embeddings")

    path = {"method": "POST", "route": "/v1/embeddings", "status": "200"}
    requests = "ray_embedder_requests_total"
    wanted = _total(before, requests, **path) + 3
    # Ray leaves out a gauge that was not set since its last export.
    after = exporter.until(
        lambda samples: names - _names(samples) or _total(samples, requests, **path) < wanted
    )
    assert _names(after) == names
    _check_labels(after)
    _check_values(after)
    model = _label_values(before, "model")
    assert _label_values(after, "model") <= model | {"other"}
    for name in ("ray_embedder_tokens_total", "ray_embedder_request_seconds_count"):
        assert _total(after, name) > _total(before, name)
    counters = {metric.exported for metric in CATALOGUE if metric.kind is Kind.COUNTER}
    for name in counters:
        assert _total(after, name) >= _total(before, name)
