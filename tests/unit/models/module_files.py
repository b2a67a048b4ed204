"""The files that say which modules a model has, in the words of each sentence-transformers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from embedder.models.layout import MODULES
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
"""What releases 2 to 5 write as types, and what release 6 writes."""


def write_modules(directory: Path, *kinds: str, types: Mapping[str, str] = OLD) -> Path:
    """Write the modules of these kinds, each with what its file says by itself."""
    entries = []
    for at, kind in enumerate(kinds):
        folder = "" if kind == "Transformer" else f"{at}_{kind}"
        entries.append({"idx": at, "name": str(at), "path": folder, "type": types.get(kind, kind)})
        content = {"Pooling": {"pooling_mode_mean_tokens": True}, "Dense": {"bias": True}}
        if kind in content:
            write_json(directory / folder / "config.json", content[kind])
    write_json(directory / MODULES, entries)
    return directory
