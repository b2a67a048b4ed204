"""The resources of each variant are valid, and refer to what exists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest

from deploy.kubernetes.sources import ROOT
from tests.unit.checkout.kubernetes.variants import (
    VARIANTS,
    Object,
    pod_specs,
    ray_cluster,
    ray_groups,
    variant,
)

OLDEST, NEWEST = "1.30", kubernetes_validate.latest_version()
"""The versions of Kubernetes whose schemas the resources must fit."""

CUSTOM = ("RayService", "PodMonitor")
PAGE = (ROOT / "docs" / "kubernetes.md").read_text()

each_variant = pytest.mark.parametrize("name", VARIANTS)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("name", ["cpu", "postgres-gpu"])
def test_kubernetes_accepts_the_resources_and_the_pods(name: str, version: str) -> None:
    resources = [one for (kind, _), one in variant(name).items() if kind not in CUSTOM]
    resources += [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec}
        for spec in pod_specs(name)
    ]
    for resource in resources:
        kubernetes_validate.validate(resource, version, strict=True)


def test_the_validator_refuses_an_unknown_field() -> None:
    spec = {**pod_specs("cpu")[0], "terminationGracePeriod": 1}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec}
    with pytest.raises(kubernetes_validate.ValidationError, match="terminationGracePeriod"):
        kubernetes_validate.validate(pod, NEWEST, strict=True)


def _values(document: Any, key: str) -> Iterator[Any]:
    """Yield every value of a key, at any depth."""
    if isinstance(document, dict):
        if key in document:
            yield document[key]
        document = list(document.values())
    if isinstance(document, list):
        for child in document:
            yield from _values(child, key)


def _volumes(name: str) -> list[Object]:
    return [volume for spec in pod_specs(name) for volume in spec.get("volumes", [])]


@each_variant
def test_every_secret_is_made_by_a_command_of_the_page(name: str) -> None:
    made = {
        (secret, key)
        for secret, arguments in re.findall(r"create secret generic (\S+)(.*)", PAGE)
        for key in re.findall(r"--from-(?:literal|file)=([\w.]+)", arguments)
    }
    references = _values(list(variant(name).values()), "secretKeyRef")
    used = {(one["name"], one["key"]) for one in references}
    used.add((ray_cluster(name)["authOptions"]["secretName"], "auth_token"))
    mounted = {one["secret"]["secretName"] for one in _volumes(name) if "secret" in one}

    assert used <= made
    assert mounted == {"embedder-keys"}
    assert ("embedder-keys", "keys.yaml") in made


@each_variant
def test_every_claim_and_every_mounted_volume_exists(name: str) -> None:
    resources = list(variant(name).values())
    claims = [one for kind, one in variant(name) if kind == "PersistentVolumeClaim"]
    claimed = [
        one["metadata"]["name"]
        for found in _values(resources, "volumeClaimTemplates")
        for one in found
    ]
    for spec in pod_specs(name):
        volumes = [volume["name"] for volume in spec.get("volumes", [])] or claimed
        for container in spec["containers"]:
            assert [mount["name"] for mount in container["volumeMounts"]] == volumes

    assert [one["claimName"] for one in _values(resources, "persistentVolumeClaim")] == claims


@each_variant
def test_no_pod_has_a_privilege_or_writes_to_its_image(name: str) -> None:
    """As the profile `restricted` of Kubernetes demands, which a namespace may enforce."""
    for spec in pod_specs(name):
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    containers = [one for spec in pod_specs(name) for one in spec["containers"]]
    for container in [*containers, ray_cluster(name)["autoscalerOptions"]]:
        security = container["securityContext"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True


def test_the_pods_have_the_user_of_the_image_and_may_write_where_it_writes() -> None:
    image = (ROOT / "Dockerfile").read_text()
    written = {*json.loads(re.findall(r"^VOLUME (.*)$", image, re.MULTILINE)[0]), "/tmp"}
    (user,) = re.findall(r"^USER (\d+):", image, re.MULTILINE)
    for group in ray_groups("postgres-gpu"):
        spec = group["template"]["spec"]
        mounts = {one["mountPath"] for one in spec["containers"][0]["volumeMounts"]}
        assert spec["securityContext"]["runAsUser"] == int(user)
        assert written < mounts


@each_variant
def test_no_pod_is_selected_by_two_budgets(name: str) -> None:
    """Kubernetes refuses to evict such a pod."""
    budgets = [one for (kind, _), one in variant(name).items() if kind == "PodDisruptionBudget"]
    kinds = [one["spec"]["selector"]["matchLabels"]["ray.io/node-type"] for one in budgets]
    minimum = sum(one["minReplicas"] for one in ray_cluster(name)["workerGroupSpecs"])

    assert sorted(kinds) == (["worker"] if name.startswith("postgres") else ["head", "worker"])
    assert all(one["spec"]["minAvailable"] < minimum for one in budgets)
