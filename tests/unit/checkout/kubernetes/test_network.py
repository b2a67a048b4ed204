"""Who reaches which port of the pods, and the ports of the service."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ray.autoscaler._private.constants import AUTOSCALER_METRIC_PORT
from ray.dashboard.consts import DASHBOARD_METRIC_PORT

from deploy.kubernetes.manifests import FOLDER, SOURCES
from deploy.kubernetes.sources import ROOT
from tests.unit.checkout.kubernetes.variants import (
    VARIANTS,
    Object,
    ray_cluster,
    ray_groups,
    variant,
)

METRICS = {
    "metrics": 8080,
    "as-metrics": AUTOSCALER_METRIC_PORT,
    "dash-metrics": DASHBOARD_METRIC_PORT,
}
PODS = {"matchLabels": {"app.kubernetes.io/instance": "embedder"}}


def _policy(name: str, variant_name: str = "cpu") -> Object:
    spec: Object = variant(variant_name)["NetworkPolicy", name]["spec"]
    return spec


def _ports(rule: Object) -> set[int]:
    return {one["port"] for one in rule.get("ports", ())}


def _container_ports(group: Object) -> dict[str, int]:
    container = group["template"]["spec"]["containers"][0]
    return {one["name"]: one["containerPort"] for one in container["ports"]}


def test_clients_reach_the_port_of_the_service_and_no_other() -> None:
    (clients,) = [rule for rule in _policy("embedder")["ingress"] if "from" not in rule]
    for _, serve_file in SOURCES.values():
        config: Any = yaml.safe_load((ROOT / serve_file).read_text())
        assert _ports(clients) == {config["http_options"]["port"]}
    for group in ray_groups("postgres-gpu"):
        assert {_container_ports(group)["serve"]} == _ports(clients)


def test_the_pods_reach_each_other_on_every_port() -> None:
    policy = _policy("embedder")
    inside = [rule for rule in policy["ingress"] if "ports" not in rule]

    assert policy["podSelector"] == PODS
    assert inside == [{"from": [{"podSelector": PODS}]}]
    assert {"to": [{"podSelector": PODS}]} in policy["egress"]


def test_prometheus_reaches_the_metrics_that_the_pods_show() -> None:
    (prometheus,) = [rule for rule in _policy("embedder")["ingress"] if len(rule) == 2]
    head, *workers = ray_groups("gpu")
    shown = {name: port for name, port in _container_ports(head).items() if "metrics" in name}
    monitors = list(yaml.safe_load_all((FOLDER / "monitoring/pod-monitors.yaml").read_text()))
    scraped = [{one["port"] for one in each["spec"]["podMetricsEndpoints"]} for each in monitors]

    assert shown == METRICS
    assert _ports(prometheus) == set(METRICS.values())
    assert scraped == [set(METRICS), {"metrics"}]
    assert all(_container_ports(group)["metrics"] == METRICS["metrics"] for group in workers)


def test_the_operator_alone_reaches_the_dashboard() -> None:
    (rule,) = _policy("embedder-head")["ingress"]

    assert _ports(rule) == {_container_ports(ray_groups("cpu")[0])["dashboard"]}
    assert rule["from"][0]["podSelector"]["matchLabels"] == {
        "app.kubernetes.io/name": "kuberay-operator"
    }


def test_the_metrics_have_the_names_that_alerts_and_dashboard_expect() -> None:
    """Those that monitoring/prometheus.yml gives them."""
    config: Any = yaml.safe_load((ROOT / "monitoring/prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    for monitor in yaml.safe_load_all((FOLDER / "monitoring/pod-monitors.yaml").read_text()):
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            assert {"targetLabel": "job", "replacement": job["job_name"]} in endpoint["relabelings"]
            assert endpoint["metricRelabelings"] == job["metric_relabel_configs"]
            assert endpoint["interval"] == config["global"]["scrape_interval"]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_pod_of_the_service_is_selected(name: str) -> None:
    for group in ray_groups(name):
        assert group["template"]["metadata"]["labels"] == PODS["matchLabels"]


def test_the_head_reaches_the_store_of_its_state() -> None:
    options = ray_cluster("postgres")["gcsFaultToleranceOptions"]
    host, port = options["redisAddress"].split(":")
    service = variant("postgres")["Service", host]["spec"]
    server = variant("postgres")["StatefulSet", host]["spec"]
    out = _policy("embedder-databases", "postgres")["egress"][1]
    into = _policy("embedder-valkey", "postgres")["ingress"][0]

    assert _ports(out) == _ports(into) == {service["ports"][0]["port"]} == {int(port)}
    assert service["selector"] == server["selector"]["matchLabels"]
    assert out["to"][0]["podSelector"]["matchLabels"] == service["selector"]
    assert into["from"] == [{"podSelector": PODS}]
