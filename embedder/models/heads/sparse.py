"""Read what the files of a model say about sparse weights: of SPLADE, or of BGE-M3.

SPLADE (Formal et al., arXiv 2109.10086) pools the logits of a masked language model. BGE-M3 (Chen
et al., arXiv 2402.03216) has a linear map from each token to the weight of its own id.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from embedder.core.errors import UnsupportedModel
from embedder.models.heads.classifier import first_architecture
from embedder.models.safety import read_object, read_optional

SPARSE_LINEAR = "sparse_linear"
"""The name of the file of BGE-M3's linear map, without its ending."""

_SUFFIX = "ForMaskedLM"
"""The end of the class names of masked language models."""

_IGNORED = ("cls_token", "eos_token", "pad_token", "unk_token")
"""The special tokens that get no weight in BGE-M3, by their names in the tokenizer's files."""


@dataclass(frozen=True, slots=True)
class Splade:
    """The head ``name`` (a class of transformers), and how its logits are pooled over tokens.

    A weight is log(1 + relu(logit)); with ``twice``, log(1 + x) is applied once more.
    """

    name: str
    pooling: Literal["max", "sum"] = "max"
    twice: bool = False


@dataclass(frozen=True, slots=True)
class TokenWeights:
    """The linear map in ``file``, and the special tokens that get no weight."""

    file: Path
    ignored: tuple[str, ...]


def read_splade(transformer: Path, pooling: Path | None) -> Splade:
    """Return the head of a masked language model; ``pooling`` is the folder of SpladePooling.

    Without that folder, the largest weight of each id counts, as in sentence-transformers.

    Raises:
        UnsupportedModel: the transformer is no masked language model, or an option is unknown.
    """
    name = first_architecture(read_object(transformer / "config.json"))
    if not name.endswith(_SUFFIX):
        raise UnsupportedModel(
            f"{transformer / 'config.json'} names the architecture {name!r}; sparse weights are "
            f"those of a class that ends in {_SUFFIX!r}"
        )
    if pooling is None:
        return Splade(name)
    path = pooling / "config.json"
    config = read_object(path)
    strategy = _one_of(path, config, "pooling_strategy", ("max", "sum"))
    activation = _one_of(path, config, "activation_function", ("relu", "log1p_relu"))
    return Splade(name, "sum" if strategy == "sum" else "max", activation == "log1p_relu")


def read_token_weights(directory: Path) -> TokenWeights | None:
    """Return the linear map of BGE-M3; None if the directory has no safetensors file of it."""
    file = directory / f"{SPARSE_LINEAR}.safetensors"
    if not os.path.isfile(file):
        return None
    config = read_optional(directory / "tokenizer_config.json")
    special = read_optional(directory / "special_tokens_map.json")
    named = (special.get(key, config.get(key)) for key in _IGNORED)
    contents = (each.get("content") if isinstance(each, dict) else each for each in named)
    return TokenWeights(file, tuple(each for each in contents if isinstance(each, str)))


def _one_of(path: Path, config: Mapping[str, Any], key: str, known: tuple[str, ...]) -> str:
    """Return the value of an option, the first of ``known`` if the file has none."""
    value = config.get(key) or known[0]
    if value not in known:
        raise UnsupportedModel(f"{path} has {key!r} = {value!r}; supported: {', '.join(known)}")
    return str(value)
