"""This project's encoder as a process, with the lines of the peers' worker: cache off, defaults."""

from __future__ import annotations

import importlib.metadata

import torch

from benchmarks.peers.worker import Encode, serve
from embedder import EmbedderSettings, EmbeddingGenerator
from embedder.settings.cache import CacheSettings
from embedder.settings.model import ModelSettings


def load() -> tuple[Encode, dict[str, object]]:
    """Return the encoder of the default model, and its description."""
    settings = EmbedderSettings(model=ModelSettings(offline=True), cache=CacheSettings(max_bytes=0))
    generator = EmbeddingGenerator(settings=settings)
    about: dict[str, object] = {
        "version": importlib.metadata.version("embedder"),
        "threads": torch.get_num_threads(),
        "dtype": generator.model.dtype,
    }
    return generator.embed, about


if __name__ == "__main__":
    serve(load)
