"""What the files of a model directory say, read once: configuration, layout, limits, prompts.

Knows nothing of computing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from embedder.core.errors import UnsupportedModel
from embedder.core.types import SimilarityName
from embedder.models.catalogue import model_names
from embedder.models.catalogue_row import CatalogueRow
from embedder.models.config_values import required_int
from embedder.models.layout import Layout, read_layout
from embedder.models.prompts import NAMES
from embedder.models.safety import read_object, sha256, verified_digest
from embedder.models.tokenizer.token_limit import lower_case, token_limit
from embedder.models.tokenizer.token_types import TokenTypes
from embedder.models.tokenizer.tokenizer_files import TOKENIZER, TokenizerFiles, tokenizer_paths
from embedder.models.weights import WEIGHTS, ModelSource, locate, weight_files
from embedder.settings.model import ModelSettings


@dataclass(frozen=True)
class ModelFiles:
    """A model directory that was found, checked and understood.

    ``config`` is the transformer's ``config.json``. ``prompts`` are the files' own, the
    catalogue's where these have none, and the operator's before both. ``matryoshka`` holds the
    widths that answers may be cut to: the operator's, else the catalogue's.
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
            ConfigurationError: it is missing, unsafe, or of a kind that is not supported.
        """
        source = locate(settings)
        row = source.row
        layout = read_layout(
            source.directory,
            pooling=settings.pooling,
            fallback=row.pooling if row else None,
        )
        config = _config(layout.transformer)
        stated = _stated(source.directory)
        written = _prompts(stated)
        # Empty prompts are written for models without any: they stand behind the catalogue's.
        said = {name: text for name, text in written.items() if text}
        known = dict(row.prompts) if row else {}
        prompts = {**written, **known, **said, **settings.prompts}
        pinned = row.sha256 if row and source.revision == row.revision else None
        return cls(
            source=source,
            name=model_names(settings)[0],
            config=config,
            layout=layout,
            max_tokens=token_limit(layout.transformer, config, settings.max_tokens),
            lower_case=lower_case(layout.transformer),
            prompts=prompts,
            default_prompt=_default_prompt(settings, stated, prompts),
            similarity=_similarity(stated),
            matryoshka=_matryoshka(settings, row),
            expected_sha256=settings.sha256 or pinned,
        )

    @property
    def repository(self) -> str:
        """Return the published name, or the directory's where there is none."""
        return self.source.repository

    @property
    def revision(self) -> str:
        """Return the published revision, or ``local``."""
        return self.source.revision

    @property
    def pooling(self) -> str:
        """Return the poolings that are laid side by side, joined by plus signs."""
        return "+".join(self.layout.pooling)

    @property
    def notes(self) -> tuple[str, ...]:
        """Return in sentences what had to be assumed."""
        return (self.layout.note,) if self.layout.note else ()

    @property
    def weights(self) -> tuple[Path, ...]:
        """Return the paths of the transformer's weights: one file, or its shards.

        Raises:
            UnsupportedModel: there are none in safetensors, or some are missing.
        """
        return weight_files(self.layout.transformer)

    @property
    def has_custom_code(self) -> bool:
        """Tell whether the configuration names code of the model's own, which is never run."""
        return "auto_map" in self.config

    @property
    def vocabulary_size(self) -> int:
        """Return how many rows the embedding matrix has: ids below this can be computed."""
        return required_int(self.config, "vocab_size")

    @property
    def tokenizer(self) -> Path:
        """Return the path of the tokenizer's file."""
        return self.layout.transformer / TOKENIZER

    @cached_property
    def tokenizer_files(self) -> TokenizerFiles:
        """Return what the files of the tokenizer say together.

        Raises:
            UnsupportedModel: they say something that is not done here.
        """
        return TokenizerFiles.read(self.layout.transformer, self.config, rows=self.vocabulary_size)

    @cached_property
    def token_types(self) -> TokenTypes | None:
        """Return the types of tokens that the model is given; None where it is given the ids alone.

        Raises:
            UnsupportedModel: the tokenizer gives a type that the model does not have.
        """
        if not self.tokenizer_files.gives_types:
            return None
        types = TokenTypes.of(self.tokenizer_files.state)
        known = self.config.get("type_vocab_size")
        if isinstance(known, int) and max(types.all) >= max(known, 1):
            raise UnsupportedModel(
                f"{self.tokenizer} gives the token type {max(types.all)}; config.json has "
                f"'type_vocab_size' = {known}"
            )
        return types

    @cached_property
    def tokenizer_digest(self) -> str:
        """Return the SHA-256 of the tokenizer's files, and of how its texts are prepared."""
        digests = [sha256(path) for path in tokenizer_paths(self.layout.transformer)]
        return _joined([*digests, f"lower case: {self.lower_case}"])

    @cached_property
    def config_digest(self) -> str:
        """Return the SHA-256 of the transformer's configuration, which decides vectors too."""
        return sha256(self.layout.transformer / "config.json")

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 of the weights, checked against what is pinned.

        Of several files (shards, Dense modules) it is the SHA-256 of their digests and of the
        activations between them; what is pinned is the transformer's first file.

        Raises:
            WeightsMismatch: another one is pinned, or the hub stated another one.
            UnsupportedModel: a file is missing.
        """
        first, *others = self.weights
        digests = [verified_digest(first, self.expected_sha256)]
        digests += [verified_digest(other, None) for other in others]
        for dense in self.layout.dense:
            digests += [verified_digest(dense.folder / WEIGHTS, None), dense.activation]
        return digests[0] if len(digests) == 1 else _joined(digests)


def _joined(digests: list[str]) -> str:
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _config(folder: Path) -> Mapping[str, Any]:
    """Read a transformer's ``config.json``, which may not send its loader to other weights."""
    config = read_object(folder / "config.json")
    if config.get("transformers_weights") is not None:
        raise UnsupportedModel(
            f"{folder / 'config.json'} has 'transformers_weights' = "
            f"{config['transformers_weights']!r}; only {WEIGHTS} and its shards are read"
        )
    if config.get("quantization_config"):
        raise UnsupportedModel(f"{folder / 'config.json'} has a 'quantization_config'")
    if os.path.lexists(folder / "adapter_config.json"):
        raise UnsupportedModel(f"{folder} holds an adapter; merge it into the weights")
    return config


def _stated(directory: Path) -> Mapping[str, Any]:
    path = directory / "config_sentence_transformers.json"
    stated = read_object(path) if os.path.lexists(path) else {}
    if stated.get("truncate_dim") is not None:
        raise UnsupportedModel(
            f"{path} has 'truncate_dim' = {stated['truncate_dim']!r}; vectors have all dimensions "
            "here unless a request asks for fewer (see model.matryoshka)"
        )
    kind = stated.get("model_type") or "SentenceTransformer"
    if kind != "SentenceTransformer":
        raise UnsupportedModel(
            f"{path} has 'model_type' = {kind!r}; only dense vectors are computed"
        )
    return stated


def _prompts(stated: Mapping[str, Any]) -> dict[str, str]:
    prompts = stated.get("prompts") or {}
    if not isinstance(prompts, dict):
        raise UnsupportedModel(f"'prompts' is {prompts!r}; it must be an object")
    for name, text in prompts.items():
        if not isinstance(text, str | None) or not _is_unicode(f"{name}{text}"):
            raise UnsupportedModel(f"the prompt {name!r} is {text!r}; it must be Unicode text")
    return {name: text or "" for name, text in prompts.items()}


def _is_unicode(text: str) -> bool:
    """Tell whether a text can be sent anywhere: JSON may hold lone surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _default_prompt(
    settings: ModelSettings, stated: Mapping[str, Any], prompts: Mapping[str, str]
) -> str | None:
    chosen, said = settings.default_prompt, stated.get("default_prompt_name")
    wanted = said if chosen is None else chosen
    # Looked up in lists: what the files say need not be hashable.
    if wanted is None or wanted in list(prompts):
        return wanted
    if chosen is None and wanted in list(NAMES.values()):
        return None  # sentence-transformers gives every model these prompts, empty
    raise UnsupportedModel(
        f"the default prompt is {wanted!r}; there are: {', '.join(prompts) or 'none'}"
    )


def _matryoshka(settings: ModelSettings, row: CatalogueRow | None) -> tuple[int, ...]:
    if settings.matryoshka is not None:
        return settings.matryoshka
    return row.matryoshka if row else ()


def _similarity(stated: Mapping[str, Any]) -> SimilarityName:
    wanted = stated.get("similarity_fn_name") or "cosine"
    known: tuple[SimilarityName, ...] = get_args(SimilarityName)
    if wanted not in known:
        raise UnsupportedModel(f"the similarity is {wanted!r}; supported: {', '.join(known)}")
    return known[known.index(wanted)]
