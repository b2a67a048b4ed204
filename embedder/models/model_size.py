"""The size of a model, from its configuration and the headers of its weight files.

No tensor is read. Estimates of memory and time are based on these numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from embedder.core.errors import UnsupportedModel
from embedder.models.files import ModelFiles
from embedder.models.weights import WEIGHTS

_WIDTH = ("hidden_size", "dim", "d_model", "n_embd")
_LAYERS = ("num_hidden_layers", "n_layers", "num_layers", "n_layer")
_HEADS = ("num_attention_heads", "n_heads", "num_heads", "n_head")
_INNER = ("intermediate_size", "hidden_dim", "d_ff", "n_inner")
"""The names of one number in different architectures."""

_UNUSED = (".pooler.", ".decoder.", ".lm_head.", ".cls.")
"""Name fragments of tensors that are not needed for embeddings."""

_RELATIVE_POSITION_BIAS = {"mpnet", "t5", "mt5"}
"""Architectures whose attention adds a bias for each pair of tokens, as a full matrix."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The dimensions that determine the cost of one batch.

    ``inner`` is the width of the feed-forward layer. ``positions`` is the maximum number of tokens
    of an input. ``biased`` is True if attention adds a bias for each pair of tokens.
    """

    layers: int
    heads: int
    width: int
    inner: int
    positions: int = 512
    biased: bool = False

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> ModelShape:
        """Read the shape from a ``config.json``.

        Raises:
            UnsupportedModel: a number is missing.
        """
        text = config.get("text_config")
        numbers = {**config, **text} if isinstance(text, Mapping) else config
        width = _number(numbers, _WIDTH)
        return cls(
            layers=_number(numbers, _LAYERS),
            heads=_number(numbers, _HEADS),
            width=width,
            inner=_number(numbers, _INNER, default=4 * width),
            positions=_number(numbers, ("max_position_embeddings",), default=512),
            biased=config.get("model_type") in _RELATIVE_POSITION_BIAS,
        )


@dataclass(frozen=True, slots=True)
class ModelSize:
    """The sizes of a model's weights and tokenizer.

    ``parameters`` counts all loaded parameters. ``matrix_parameters`` counts those that every token
    is multiplied with; the others are lookup tables. ``head_parameters`` counts those of the Dense
    modules, which stay float32. ``file_bytes`` is the size of the transformer's weight files,
    ``tokenizer_bytes`` that of ``tokenizer.json``, and ``tokenizer_kind`` its algorithm.
    """

    shape: ModelShape
    parameters: int
    matrix_parameters: int
    head_parameters: int
    file_bytes: int
    tokenizer_bytes: int = 0
    tokenizer_kind: str = "BPE"

    @classmethod
    def of(cls, files: ModelFiles) -> ModelSize:
        """Read the size of a model.

        Raises:
            UnsupportedModel: a number is missing, or a weight file is damaged.
        """
        tensors = [tensor for path in files.weights for tensor in _tensors(path)]
        loaded = [(name, shape) for name, shape in tensors if not _is_unused(name)]
        vocabulary = files.vocabulary_size
        dense = [module.folder / WEIGHTS for module in files.layout.dense]
        heads = [*dense, *files.layout.head_files]
        return cls(
            shape=ModelShape.of(files.config),
            parameters=sum(prod(shape) for _, shape in loaded),
            matrix_parameters=sum(
                prod(shape) for name, shape in loaded if not _is_table(name, shape, vocabulary)
            ),
            head_parameters=sum(prod(shape) for path in heads for _, shape in _tensors(path)),
            file_bytes=sum(path.stat().st_size for path in files.weights),
            tokenizer_bytes=files.tokenizer.stat().st_size if files.tokenizer.is_file() else 0,
            tokenizer_kind=_tokenizer_kind(files.tokenizer),
        )


def _tokenizer_kind(path: Path) -> str:
    """Return the algorithm that ``tokenizer.json`` names; old BPE files name none."""
    text = path.read_text("utf-8") if path.is_file() else ""
    return next((kind for kind in ("Unigram", "WordPiece") if f'"{kind}"' in text), "BPE")


def _tensors(path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the name and the shape of each tensor in a file."""
    try:
        with safe_open(path, framework="numpy") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - the file object is not a mapping
                yield name, tuple(tensors.get_slice(name).get_shape())
    except (OSError, SafetensorError) as error:
        raise UnsupportedModel(f"{path} cannot be read: {error}") from error


def _is_unused(name: str) -> bool:
    return any(fragment in f".{name}" for fragment in _UNUSED)


def _is_table(name: str, shape: tuple[int, ...], vocabulary: int) -> bool:
    return "embed" in name or (len(shape) == 2 and shape[0] == vocabulary)


def _number(config: Mapping[str, Any], names: tuple[str, ...], default: int | None = None) -> int:
    for name in names:
        value = config.get(name, None)
        if isinstance(value, int):
            return value
    if default is None:
        raise UnsupportedModel(f"config.json has none of {', '.join(names)} as a whole number")
    return default
