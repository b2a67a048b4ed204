"""The resources of each variant of deploy/kubernetes, as kustomize builds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from deploy.kubernetes.manifests import FOLDER

Object = dict[str, Any]

VARIANTS = ("cpu", "gpu", "postgres", "postgres-gpu")


@lru_cache
def variant(name: str) -> Mapping[tuple[str, str], Object]:
    """Return the resources of a variant by kind and name."""
    return by_name(_built(FOLDER / name))


def by_name(resources: Iterator[Object]) -> Mapping[tuple[str, str], Object]:
    """Return resources by kind and name, of which no two may be equal."""
    found: dict[tuple[str, str], Object] = {}
    for resource in resources:
        key = resource["kind"], resource["metadata"]["name"]
        assert key not in found
        found[key] = resource
    return found


def kustomization(folder: Path) -> Object:
    document: Object = yaml.safe_load((folder / "kustomization.yaml").read_text())
    return document


def _built(folder: Path) -> Iterator[Object]:
    """Yield what a kustomization has, which may add elements to lists of a RayService."""
    document = kustomization(folder)
    for entry in document["resources"]:
        path = folder / entry
        if path.is_dir():
            yield from (_patched(one, folder, document) for one in _built(path))
        else:
            yield from yaml.safe_load_all(path.read_text())


def _patched(resource: Object, folder: Path, document: Object) -> Object:
    for patch in document.get("patches", ()):
        if resource["kind"] != patch["target"]["kind"]:
            continue
        for operation in yaml.safe_load((folder / patch["path"]).read_text()):
            *parents, last = operation["path"].split("/")[1:]
            assert (operation["op"], last) == ("add", "-")
            target = resource
            for name in parents:
                target = target[name]
            target.append(operation["value"])  # type: ignore[attr-defined]
    return resource


def ray_cluster(name: str) -> Object:
    """Return the specification of the cluster of a variant's RayService."""
    cluster: Object = variant(name)["RayService", "embedder"]["spec"]["rayClusterConfig"]
    return cluster


def ray_groups(name: str) -> list[Object]:
    """Return the group of the head and those of the workers."""
    cluster = ray_cluster(name)
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def pod_specs(name: str) -> list[Object]:
    """Return the specifications of all pods of a variant."""
    sets = [one for (kind, _), one in variant(name).items() if kind == "StatefulSet"]
    templates = [one["template"] for one in ray_groups(name)]
    templates += [one["spec"]["template"] for one in sets]
    return [template["spec"] for template in templates]
