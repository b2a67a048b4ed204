"""Write ``modules.json`` and module folders as the releases of sentence-transformers do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from embedder.models.modules import MODULES
from tests.tiny_models import write_json

OLD = {kind: f"sentence_transformers.models.{kind}" for kind in ("Transformer", "Pooling")} | {
    "Dense": "sentence_transformers.models.Dense",
    "Normalize": "sentence_transformers.models.Normalize",
}
NEW = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Dense": "sentence_transformers.base.modules.dense.Dense",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
}
"""The types in releases 2 to 5, and in release 6."""


def write_modules(directory: Path, *kinds: str, types: Mapping[str, str] = OLD) -> Path:
    """Write modules of these kinds with default configurations."""
    entries = []
    for at, kind in enumerate(kinds):
        folder = "" if kind == "Transformer" else f"{at}_{kind}"
        entries.append({"idx": at, "name": str(at), "path": folder, "type": types.get(kind, kind)})
        content = {"Pooling": {"pooling_mode_mean_tokens": True}, "Dense": {"bias": True}}
        if kind in content:
            write_json(directory / folder / "config.json", content[kind])
    write_json(directory / MODULES, entries)
    return directory
