"""All sources of weights, laid out on disk like the real ones, and a fake hub.

A snapshot in the hub's cache holds links into a folder of blobs, each named by its digest.
"""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from embedder.models import catalogue, weights
from embedder.models.catalogue_row import CatalogueRow
from embedder.models.files import ModelFiles
from embedder.models.weights import WEIGHTS
from embedder.settings.model import ModelSettings
from tests.tiny_models import write_layout

REVISION = "0123456789abcdef0123456789abcdef01234567"
OTHER_REVISION = "fedcba9876543210fedcba9876543210fedcba98"
CONTENT = b"weights"
ROW = CatalogueRow(
    repository="someone/tiny",
    revision=REVISION,
    width=32,
    max_tokens=24,
    pooling="cls",
    parameters=1000,
    licence="MIT",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    prompts=(("query", "row query: "), ("passage", "row passage: ")),
    package="tiny_weights_carrier",
)


def open_files(name: Path | str, **settings: Any) -> ModelFiles:
    """Open a model without the hub."""
    return ModelFiles.open(ModelSettings(name=str(name), offline=True, **settings))


def digest_of(content: bytes) -> str:
    """Return the SHA-256 of some content."""
    return hashlib.sha256(content).hexdigest()


def fill(directory: Path) -> Path:
    """Write a model that can be opened; its weights are no tensors."""
    write_layout(directory)
    (directory / WEIGHTS).write_bytes(CONTENT)
    return directory


def link_into_blobs(snapshot: Path) -> Path:
    """Turn every file of a snapshot into a link to a blob, as the hub's cache has it."""
    blobs = snapshot.parents[1] / "blobs"
    blobs.mkdir(exist_ok=True)
    for path in [path for path in snapshot.rglob("*") if path.is_file()]:
        # The hub states a SHA-256 for large files, and git's own digest for small ones.
        digest = digest_of(path.read_bytes())
        blob = blobs / (digest if path.suffix == ".safetensors" else digest[:40])
        path.replace(blob)
        path.symlink_to(os.path.relpath(blob, path.parent))
    return snapshot


class FakeSources:
    """A catalogue of one row, and all sources of its weights, empty at first."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.packages = root / "packages"
        self.hub_cache = root / "hub-cache"
        self.downloads = root / "downloads"
        self.asked: list[tuple[str, str]] = []
        self._patch = patch
        for folder in (self.packages, self.hub_cache, self.downloads):
            folder.mkdir()
        patch.setattr(constants, "HF_HUB_CACHE", str(self.hub_cache))
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        patch.syspath_prepend(self.packages)
        patch.chdir(root)
        self.set_row(ROW)

    def set_row(self, row: CatalogueRow) -> None:
        """Make this row the whole catalogue."""
        for module in (catalogue, weights):
            self._patch.setattr(module, "CATALOGUE", (row,))

    def fill_package(self) -> Path:
        package = self.packages / str(ROW.package)
        package.mkdir()
        (package / "__init__.py").write_text("raise RuntimeError('a carrier must not be run')\n")
        importlib.invalidate_caches()
        return fill(package / "model")

    def fill_hub_cache(self, revision: str = REVISION) -> Path:
        return link_into_blobs(fill(self.cached / "snapshots" / revision))

    def fill_hub(self) -> Path:
        directory = fill(self.downloads)
        self.answer_downloads(lambda: str(directory))
        return directory

    @property
    def cached(self) -> Path:
        return self.hub_cache / "models--someone--tiny"

    def answer_downloads(self, answer: Callable[[], str]) -> None:
        """Replace downloads from the hub; lookups in its cache stay real."""
        look_up = huggingface_hub.snapshot_download

        def snapshot(repository: str, **wanted: Any) -> object:
            if wanted["local_files_only"]:
                return look_up(repository, **wanted)
            self.asked.append((repository, wanted["revision"]))
            return answer()

        self._patch.setattr(huggingface_hub, "snapshot_download", snapshot)

    def break_hub(self, error: Exception) -> None:
        def answer() -> str:
            raise error

        self.answer_downloads(answer)
