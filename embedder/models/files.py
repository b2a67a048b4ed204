"""The files of a model directory, read once: configuration, layout, limits, prompts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from embedder.core.errors import UnsupportedModel
from embedder.core.types import SimilarityName
from embedder.models.catalogue import model_names
from embedder.models.heads.sparse import Splade, TokenWeights
from embedder.models.layout import Layout, read_layout
from embedder.models.safety import (
    read_object,
    require_supported,
    required_int,
    sha256,
    verified_digest,
)
from embedder.models.sentence_config import (
    default_prompt,
    merge_prompts,
    read_sentence_config,
    similarity_name,
)
from embedder.models.token_limit import lower_case, token_limit
from embedder.models.tokenizer.token_types import TokenTypes
from embedder.models.tokenizer.tokenizer_files import TOKENIZER, TokenizerFiles, tokenizer_paths
from embedder.models.weights import WEIGHTS, ModelSource, locate, weight_files
from embedder.settings.model import ModelSettings


@dataclass(frozen=True)
class ModelFiles:
    """A model directory that has been found, checked and read.

    ``config`` is the transformer's ``config.json``. ``matryoshka`` lists the widths that vectors
    may be cut to: the operator's list, else the catalogue's.
    """

    source: ModelSource
    name: str
    config: Mapping[str, Any]
    layout: Layout
    max_tokens: int
    lower_case: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    similarity: SimilarityName = "cosine"
    matryoshka: tuple[int, ...] = ()
    expected_sha256: str | None = None

    @classmethod
    def open(cls, settings: ModelSettings) -> ModelFiles:
        """Find and read the model that the settings name.

        Raises:
            ConfigurationError: the model is missing, unsafe or not supported.
        """
        source = locate(settings)
        row = source.row
        fallback = row.pooling if row else None
        layout = read_layout(
            source.directory, pooling=settings.pooling, fallback=fallback, outputs=settings.outputs
        )
        config = _read_config(layout.transformer)
        kind = layout.outputs[0]
        sentence_config = read_sentence_config(source.directory, kind)
        markers = layout.multi_vector.markers if layout.multi_vector else {}
        prompts = merge_prompts(
            sentence_config, dict(row.prompts) if row else {}, settings, markers=markers or {}
        )
        matryoshka = row.matryoshka if row else ()
        pinned = row.sha256 if row and source.revision == row.revision else None
        return cls(
            source=source,
            name=model_names(settings)[0],
            config=config,
            layout=layout,
            max_tokens=token_limit(layout.transformer, config, settings.max_tokens, layout),
            lower_case=lower_case(layout.transformer),
            prompts=prompts,
            default_prompt=default_prompt(sentence_config, prompts, settings),
            similarity=similarity_name(sentence_config, kind),
            matryoshka=matryoshka if settings.matryoshka is None else settings.matryoshka,
            expected_sha256=settings.sha256 or pinned,
        )

    @property
    def pooling(self) -> str:
        """Return the names of the concatenated poolings, joined by plus signs, or of the head."""
        if self.layout.classifier is not None:
            return "classifier"
        if self.layout.pooling:
            return "+".join(self.layout.pooling)
        return self.layout.outputs[0].value

    @property
    def weights(self) -> tuple[Path, ...]:
        """Return the paths of the transformer's weights: one file, or its shards.

        Raises:
            UnsupportedModel: the folder has no safetensors file, or a shard is missing.
        """
        return weight_files(self.layout.transformer)

    @property
    def has_custom_code(self) -> bool:
        """Return whether the configuration names custom code, which is never run."""
        return "auto_map" in self.config

    @property
    def vocabulary_size(self) -> int:
        """Return the number of rows of the embedding matrix; token ids must be below it."""
        return required_int(self.config, "vocab_size")

    @property
    def tokenizer(self) -> Path:
        """Return the path of ``tokenizer.json``."""
        return self.layout.transformer / TOKENIZER

    @cached_property
    def tokenizer_files(self) -> TokenizerFiles:
        """Return the tokenizer that the model's files describe together.

        Raises:
            UnsupportedModel: there is no fast tokenizer, or it has an unsupported option.
        """
        return TokenizerFiles.read(self.layout.transformer, self.config, rows=self.vocabulary_size)

    @cached_property
    def token_types(self) -> TokenTypes | None:
        """Return the token types of the model's input; None if the model reads ids alone.

        Raises:
            UnsupportedModel: the tokenizer uses a type that the model does not have.
        """
        if not self.tokenizer_files.gives_types:
            return None
        pairs = self.layout.classifier is not None
        types = TokenTypes.of(self.tokenizer_files.state, pairs=pairs)
        known = self.config.get("type_vocab_size")
        if isinstance(known, int) and max(types.all) >= max(known, 1):
            raise UnsupportedModel(
                f"{self.tokenizer} gives the token type {max(types.all)}; config.json has "
                f"'type_vocab_size' = {known}"
            )
        return types

    @cached_property
    def tokenizer_digest(self) -> str:
        """Return the SHA-256 of the tokenizer's files and of the lower-case option."""
        digests = [sha256(path) for path in tokenizer_paths(self.layout.transformer)]
        return _joint_digest([*digests, f"lower case: {self.lower_case}"])

    @cached_property
    def config_digest(self) -> str:
        """Return the SHA-256 of the configuration, which also affects vectors."""
        digest, layout = sha256(self.layout.transformer / "config.json"), self.layout
        heads = [repr(layout.sparse)] if isinstance(layout.sparse, Splade) else []
        if isinstance(layout.sparse, TokenWeights):
            heads.append(repr(layout.sparse.ignored))
        if layout.multi_vector is not None:
            heads.append(layout.multi_vector.description)
        return _joint_digest([digest, *heads]) if heads else digest

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 of the weights, checked against the pinned digest.

        If a model has several files (shards, Dense modules), this is the SHA-256 of their digests
        and activations, and the pinned digest is that of the transformer's first file.

        Raises:
            WeightsMismatch: the pinned digest, or the one that the hub stated, is another.
            UnsupportedModel: a file is missing.
        """
        first, *others = self.weights
        digests = [verified_digest(first, self.expected_sha256)]
        digests += [verified_digest(other, None) for other in others]
        for dense in self.layout.dense:
            digests += [verified_digest(dense.folder / WEIGHTS, None), dense.activation]
        digests += [verified_digest(path, None) for path in self.layout.head_files]
        return digests[0] if len(digests) == 1 else _joint_digest(digests)


def _joint_digest(digests: list[str]) -> str:
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _read_config(folder: Path) -> Mapping[str, Any]:
    """Read a transformer's ``config.json`` and refuse one that points to other weights."""
    path = folder / "config.json"
    config = read_object(path)
    require_supported(path, config, {"transformers_weights": None, "quantization_config": None})
    if os.path.lexists(folder / "adapter_config.json"):
        raise UnsupportedModel(f"{folder} holds an adapter; merge it into the weights")
    return config
