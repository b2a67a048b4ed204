"""The generated manifests equal what their sources give, and kustomize builds each variant."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.kubernetes.__main__ import main
from deploy.kubernetes.manifests import FOLDER, SOURCES, generated_files
from deploy.kubernetes.sources import ROOT
from tests.unit.checkout.kubernetes.variants import VARIANTS, by_name, variant

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl builds them")


def _build(folder: Path) -> str:
    command = ["kubectl", "kustomize", "--load-restrictor=LoadRestrictionsNone", str(folder)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def test_each_generated_file_is_up_to_date() -> None:
    stale = [str(path) for path, text in generated_files().items() if path.read_text() != text]

    assert stale == [], "run make kubernetes"


@pytest.mark.parametrize("name", SOURCES)
def test_the_applications_are_those_of_the_serve_configuration(name: str) -> None:
    service = variant(name)["RayService", "embedder"]["spec"]

    assert service["serveConfigV2"] == (ROOT / SOURCES[name][1]).read_text()


@needs_kubectl
@pytest.mark.parametrize("name", VARIANTS)
def test_kustomize_builds_the_resources_that_the_tests_check(name: str) -> None:
    built = by_name(yaml.safe_load_all(_build(FOLDER / name)))

    assert built == variant(name)


@needs_kubectl
def test_a_kustomization_of_the_operator_names_the_images_and_adds_monitors(tmp_path: Path) -> None:
    content = {
        "resources": [str(FOLDER / "postgres-gpu")],
        "components": [str(FOLDER / "monitoring")],
        "namespace": "search",
        "images": [
            {"name": "embedder", "newName": "registry.example/embedder", "newTag": "1"},
            {"name": "embedder-cuda", "newName": "registry.example/embedder", "newTag": "1-cuda"},
        ],
    }
    for field in ("resources", "components"):
        content[field] = [_relative(Path(str(path)), tmp_path) for path in content[field]]
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(content))
    built = by_name(yaml.safe_load_all(_build(tmp_path)))
    cluster = built["RayService", "embedder"]["spec"]["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    images = [group["template"]["spec"]["containers"][0]["image"] for group in groups]

    assert images[:-1] == ["registry.example/embedder:1"] * 2
    assert images[-1] == "registry.example/embedder:1-cuda"
    assert {one["metadata"]["namespace"] for one in built.values()} == {"search"}
    assert ("PodMonitor", "embedder-workers") in built
    rules = built["PrometheusRule", "embedder"]["spec"]
    assert rules == yaml.safe_load((ROOT / "monitoring/alerts.yml").read_text())


def _relative(path: Path, start: Path) -> str:
    ups = [".."] * (len(start.parts) - 1)
    return str(Path(*ups, *path.parts[1:]))


def test_the_program_says_what_a_schema_does_not_allow(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schema = tmp_path / "schema.yaml"
    open_object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    fields = {"apiVersion": {}, "kind": {"enum": ["RayService"]}, "metadata": open_object}
    for spec, status in ((open_object, 0), ({"properties": {"serveConfigV2": {}}}, 1)):
        version = {"openAPIV3Schema": {"type": "object", "properties": {**fields, "spec": spec}}}
        definition = {"versions": [{"name": "v1", "schema": version}]}
        document = {"kind": "CustomResourceDefinition", "spec": definition}
        schema.write_text(yaml.safe_dump(document))

        assert main(["--schema", str(schema)]) == status
    assert "cpu: $.spec: Additional properties are not allowed" in capsys.readouterr().err
