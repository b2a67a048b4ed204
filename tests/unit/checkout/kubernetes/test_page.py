"""The page about Kubernetes names folders, files, services and commands that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from deploy.kubernetes.pods import CUDA_IMAGE, IMAGE
from deploy.kubernetes.rayservice import NAME
from deploy.kubernetes.sources import ROOT
from deployments.cli import main
from tests.readme import fenced
from tests.unit.checkout.kubernetes.variants import VARIANTS, ray_groups

PAGE = (ROOT / "docs" / "kubernetes.md").read_text()


def test_the_kustomization_names_folders_and_images_that_exist() -> None:
    (block,) = fenced(PAGE, "yaml")
    document = yaml.safe_load(block)
    named = [*document["resources"], *document["components"]]

    # The operator's file is beside a folder with this repository.
    assert all(
        (ROOT / Path(*Path(path).parts[1:]) / "kustomization.yaml").exists() for path in named
    )
    assert [image["name"] for image in document["images"]] == [IMAGE, CUDA_IMAGE]


def test_every_variant_and_its_number_of_pods_is_in_the_table() -> None:
    for name in VARIANTS:
        (row,) = re.findall(rf"^\| `{name}` \|(.*)$", PAGE, re.MULTILINE)
        (workers,) = [one for one in ray_groups(name)[1:] if one["groupName"] == "cpu-worker"]
        bounds = f"{workers['minReplicas']} to {workers['maxReplicas']} CPU workers"
        assert bounds in row or "the same" in row
        assert ("up to 2 workers with a GPU" in row) is name.endswith("gpu")


def test_the_requests_of_the_pods_are_those_of_the_page() -> None:
    head, *workers = (
        one["template"]["spec"]["containers"][0]["resources"]["requests"]
        for one in ray_groups("gpu")
    )
    sizes = [(one["cpu"], one["memory"]) for one in workers]

    assert sizes == [("7", "13Gi"), ("7", "13Gi"), ("3", "13Gi")]
    assert (head["cpu"], head["memory"]) == ("1", "5Gi")  # and its autoscaler
    assert "a worker requests 7 CPUs and 13 GiB, the head 1.5 CPUs and 6 GiB" in PAGE
    assert "a GPU worker 3 CPUs, 13 GiB" in PAGE


def test_services_and_secrets_have_the_names_that_kuberay_gives() -> None:
    assert set(re.findall(r"service/([\w-]+)", PAGE)) == {f"{NAME}-serve-svc", f"{NAME}-head-svc"}
    assert set(re.findall(r"rayservice (\w+)", PAGE)) == {NAME}


def test_every_named_command_exists(capsys: pytest.CaptureFixture[str]) -> None:
    named = set(re.findall(r"(?:`| )embedder (key|index)\b", PAGE))
    with pytest.raises(SystemExit):
        main(["--help"])
    known = re.search(r"\{([\w,]+)\}", capsys.readouterr().out)

    assert known is not None
    assert named == {"key", "index"} <= set(known[1].split(","))
    assert "\nkubernetes:" in (ROOT / "Makefile").read_text()
