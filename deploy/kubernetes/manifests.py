"""The generated files of this folder, as text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from deploy.kubernetes.rayservice import gpu_patch, rayservice
from deploy.kubernetes.sources import ROOT, read_cluster

FOLDER = Path(__file__).parent

SOURCES = {
    "cpu": ("cluster.yaml", "serve_cluster.yaml"),
    "postgres": ("cluster_postgres.yaml", "serve_cluster_postgres.yaml"),
}
"""The folder of each RayService, with the files of the repository that it is made from."""

GPU_FOLDERS = {"cpu": "gpu", "postgres": "postgres-gpu"}
"""The folder that adds the groups with GPUs to each RayService."""

ALERTS = "monitoring/alerts.yml"


def generated_files() -> Mapping[Path, str]:
    """Return the content of each generated file by its path."""
    files = {}
    for folder, sources in SOURCES.items():
        cluster = read_cluster(*sources)
        files[FOLDER / folder / "rayservice.yaml"] = _text(rayservice(cluster), sources)
        patch = FOLDER / GPU_FOLDERS[folder] / "gpu-workers.yaml"
        files[patch] = _text(gpu_patch(cluster), sources)
    files[FOLDER / "monitoring" / "alert-rules.yaml"] = _text(_alert_rules(), (ALERTS,))
    return files


def _alert_rules() -> dict[str, Any]:
    """Return the alert rules as a resource of the Prometheus operator."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "embedder"},
        "spec": yaml.safe_load((ROOT / ALERTS).read_text()),
    }


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as they are, and each object where it is used."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _represent_text)


def _text(document: Any, sources: tuple[str, ...]) -> str:
    head = f"# Written by 'make kubernetes' from {' and '.join(sources)}, where changes belong.\n"
    return head + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=100)
