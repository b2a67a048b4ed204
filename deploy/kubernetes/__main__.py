"""``python -m deploy.kubernetes``: writes the generated manifests, and checks them.

``--schema`` checks each RayService against the schema of KubeRay's resource definition: the
``openAPIV3Schema`` of version v1, in JSON or YAML, or a whole CustomResourceDefinition as
``kubectl get crd rayservices.ray.io -o yaml`` prints it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from deploy.kubernetes.manifests import SOURCES, generated_files
from deploy.kubernetes.rayservice import rayservice
from deploy.kubernetes.schema import problems
from deploy.kubernetes.sources import read_cluster


def main(arguments: list[str] | None = None) -> int:
    """Write the files and return 0, or 1 where the schema does not allow a RayService."""
    parser = argparse.ArgumentParser(prog="python -m deploy.kubernetes", description=__doc__)
    parser.add_argument("--schema", type=Path, help="check against this schema of a RayService")
    options = parser.parse_args(arguments)
    for path, text in generated_files().items():
        path.write_text(text)
    found = [] if options.schema is None else list(_problems(_schema(options.schema)))
    sys.stderr.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


def _problems(schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield the problems of each RayService with all its groups."""
    for folder, sources in SOURCES.items():
        resource = rayservice(read_cluster(*sources), gpus=True)
        yield from (f"{folder}: {problem}" for problem in problems(resource, schema))


def _schema(path: Path) -> Mapping[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    if document.get("kind") != "CustomResourceDefinition":
        return document
    (version,) = [one for one in document["spec"]["versions"] if one["name"] == "v1"]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


if __name__ == "__main__":
    sys.exit(main())
