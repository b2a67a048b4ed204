"""A cross-encoder with random weights that the services of the cluster tests have beside a model.

It is written without transformers, whose import takes longer than the start of a service may.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from tests.tiny_models import BERT_CONFIG, SPECIAL, write_json, write_tokenizer

NAME = "cross-encoder"
"""The name of its directory, by which clients call it."""

LAYERS = 1


def write_cross_encoder(parent: Path) -> Path:
    """Write a BERT with one label into a directory `NAME`, and return the directory."""
    config = {
        **BERT_CONFIG,
        "num_hidden_layers": LAYERS,
        "architectures": ["BertForSequenceClassification"],
        "id2label": {"0": "relevance"},
    }
    directory = parent / NAME
    write_json(directory / "config.json", config)
    write_json(directory / "tokenizer_config.json", {"model_max_length": 40})
    write_tokenizer(directory, SPECIAL, "[CLS] $A [SEP]", "[CLS] $A:0 [SEP] $B:1 [SEP]:1")
    random = np.random.default_rng(7)
    tensors = {}
    for name, shape in _shapes():
        drawn = random.standard_normal(shape, np.float32)
        scale = 1.0 if "embeddings" in name else 1.5 / shape[-1] ** 0.5
        shift = 1.0 if name.endswith("LayerNorm.weight") else 0.0
        tensors[name] = 0.3 * drawn + shift if len(shape) == 1 else scale * drawn
    save_file(tensors, directory / "model.safetensors", {"format": "pt"})
    return directory


def _shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the name and the shape of every tensor, as transformers stores them."""
    width, inner = BERT_CONFIG["hidden_size"], BERT_CONFIG["intermediate_size"]
    for name, rows in (
        ("word", BERT_CONFIG["vocab_size"]),
        ("position", BERT_CONFIG["max_position_embeddings"]),
        ("token_type", BERT_CONFIG["type_vocab_size"]),
    ):
        yield f"bert.embeddings.{name}_embeddings.weight", (rows, width)
    linear = {"bert.pooler.dense": (width, width), "classifier": (1, width)}
    norms = ["bert.embeddings.LayerNorm"]
    for number in range(LAYERS):
        layer = f"bert.encoder.layer.{number}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            linear[f"{layer}.attention.{part}"] = (width, width)
        linear[f"{layer}.intermediate.dense"] = (inner, width)
        linear[f"{layer}.output.dense"] = (width, inner)
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    for name, shape in linear.items():
        yield f"{name}.weight", shape
        yield f"{name}.bias", shape[:1]
    for name in norms:
        yield f"{name}.weight", (width,)
        yield f"{name}.bias", (width,)
