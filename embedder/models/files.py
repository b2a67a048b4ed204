"""What the files of a model directory say, read once: configuration, pooling, limits.

Reads the layout of sentence-transformers: ``modules.json`` lists Transformer, Pooling and
Normalize. Only these types are accepted; none is imported by name. Knows nothing of computing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from embedder.config import ModelSettings, PoolingName
from embedder.errors import UnsupportedModel
from embedder.models.weights import (
    WEIGHTS,
    Source,
    locate,
    read_json,
    sha256,
    verified_digest,
)

_POOLING_FLAGS: dict[str, PoolingName] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weighted_mean",
}
_TYPES = ("Transformer", "Pooling", "Normalize")


@dataclass(frozen=True)
class ModelFiles:
    """A model directory that was found, checked and understood."""

    source: Source
    config: Mapping[str, Any]
    pooling: PoolingName
    max_tokens: int

    @classmethod
    def open(cls, settings: ModelSettings) -> ModelFiles:
        """Find and read the model that the settings name.

        Raises:
            ConfigurationError: it is missing, unsafe, or of a kind that is not supported.
        """
        source = locate(settings.name, offline=settings.offline)
        folders = _module_folders(source.directory)
        config = read_json(source.directory / "config.json")
        return cls(
            source=source,
            config=config,
            pooling=settings.pooling or _pooling(source.directory, folders),
            max_tokens=_max_tokens(source.directory, config, settings.max_tokens),
        )

    @property
    def name(self) -> str:
        """Return the name that clients use."""
        return self.source.row.alias if self.source.row else self.source.directory.name

    @property
    def repository(self) -> str:
        """Return the published name, or the directory's where there is none."""
        return self.source.row.repository if self.source.row else self.source.directory.name

    @property
    def revision(self) -> str:
        """Return the published revision, or ``local``."""
        return self.source.row.revision if self.source.row else "local"

    @property
    def weights(self) -> Path:
        """Return the path of the weights file."""
        return self.source.directory / WEIGHTS

    @property
    def vocabulary_size(self) -> int:
        """Return how many rows the embedding matrix has: ids below this can be computed."""
        return number(self.config, "vocab_size")

    @property
    def tokenizer(self) -> Path:
        """Return the path of the tokenizer's file."""
        return self.source.directory / "tokenizer.json"

    @cached_property
    def tokenizer_digest(self) -> str:
        """Return the SHA-256 of the tokenizer's file."""
        return sha256(self.tokenizer)

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 of the weights, checked against the catalogue.

        Raises:
            WeightsMismatch: the catalogue pins another.
        """
        return verified_digest(self.weights, self.source.row)


def number(config: Mapping[str, Any], key: str) -> int:
    """Return a whole number of a ``config.json``.

    Raises:
        UnsupportedModel: it is not there, or not a whole number.
    """
    value = config.get(key)
    if not isinstance(value, int):
        raise UnsupportedModel(f"config.json has {key!r} = {value!r}; it must be a whole number")
    return value


def _module_folders(directory: Path) -> dict[str, Path]:
    """Return the folder of every module by its type's short name."""
    folders = {}
    for module in read_json(directory / "modules.json"):
        kind = str(module["type"]).removeprefix("sentence_transformers.models.")
        if kind not in _TYPES:
            raise UnsupportedModel(
                f"{directory}/modules.json asks for {module['type']!r}; supported: "
                + ", ".join(_TYPES)
            )
        folders[kind] = directory / module["path"]
    return folders


def _pooling(directory: Path, folders: Mapping[str, Path]) -> PoolingName:
    if "Pooling" not in folders:
        raise UnsupportedModel(f"{directory}/modules.json has no Pooling; set model.pooling")
    config = read_json(folders["Pooling"] / "config.json")
    modes = [name for flag, name in _POOLING_FLAGS.items() if config.get(flag)]
    if len(modes) != 1:
        raise UnsupportedModel(
            f"{folders['Pooling']} names {len(modes)} pooling modes {modes}; exactly one is "
            "supported (or set model.pooling)"
        )
    return modes[0]


def _max_tokens(directory: Path, config: Mapping[str, Any], wanted: int | None) -> int:
    """Take the least of what the settings, the model's authors and its positions allow."""
    positions = number(config, "max_position_embeddings")
    limits = [positions]
    if (path := directory / "sentence_bert_config.json").is_file():
        limits.append(int(read_json(path).get("max_seq_length") or positions))
    if wanted is not None:
        if wanted > positions:
            raise UnsupportedModel(
                f"model.max_tokens is {wanted}; the model has {positions} positions"
            )
        return wanted
    return min(limits)
