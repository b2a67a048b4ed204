"""Read ``modules.json``, the list of a model's modules with their folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PureWindowsPath

from embedder.core.errors import UnsupportedModel
from embedder.models.safety import read_json

MODULES = "modules.json"

_TYPES = (
    "Transformer",
    "Pooling",
    "Dense",
    "Normalize",
    "MLMTransformer",
    "SpladePooling",
    "MultiVectorMask",
)
"""Class names; their Python modules differ between releases of sentence-transformers."""

_PYLATE_DENSE = "pylate.models.Dense.Dense"

Modules = list[tuple[str, Path]]
"""The class name and the folder of each module, in the order in which they are applied."""


def read_modules(directory: Path) -> Modules:
    """Return the modules of a model.

    Raises:
        UnsupportedModel: a module has another type, or a folder outside of the model's.
    """
    return list(_modules(directory))


def wrong_order(directory: Path, kinds: Sequence[str], computed: str) -> UnsupportedModel:
    """Return the error for modules other than Transformer and then ``computed``."""
    return UnsupportedModel(
        f"{directory / MODULES} asks for {' → '.join(kinds)}; what is computed is Transformer → "
        f"{computed}"
    )


def _modules(directory: Path) -> Iterator[tuple[str, Path]]:
    path = directory / MODULES
    entries = read_json(path)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UnsupportedModel(f"{path} is not a list of modules")
    for entry in entries:
        kind, folder = str(entry.get("type")), entry.get("path")
        short = kind.rpartition(".")[2]
        known = kind.startswith("sentence_transformers.") or kind == _PYLATE_DENSE
        if short not in _TYPES or not known:
            raise UnsupportedModel(f"{path} asks for {kind!r}; supported: " + ", ".join(_TYPES))
        if not isinstance(folder, str) or not _is_inside(folder):
            raise UnsupportedModel(f"{path} names the folder {folder!r}, outside of the model's")
        yield short, directory / folder


def _is_inside(folder: str) -> bool:
    path = PureWindowsPath(folder)  # splits at both separators, and recognises drives
    return folder.isprintable() and not path.anchor and ".." not in path.parts
