"""Cache keys: 32 bytes, hashed from everything that a vector depends on.

Two inputs share a key exactly when they are certain to have the same vector; texts are hashed as
sent, without Unicode normalization. A key begins with the tag of its model, so that all entries of
a model can be found and deleted by prefix.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedder.cache.store.records import KEY_BYTES, TAG_BYTES
from embedder.core.errors import InvalidInput
from embedder.core.types import Input, ModelInfo, Truncate

SCHEMA = b"embedder-3"
"""Change it when the meaning of a cached entry changes, so that no old entry is read."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The key material of one request: ``tag`` of the model, ``shared`` by all inputs."""

    tag: bytes
    shared: bytes


def model_tag(model: ModelInfo) -> bytes:
    """Return the 8 bytes with which every key of this model begins."""
    return hashlib.blake2b(_description(model), digest_size=TAG_BYTES).digest()


def recipe(model: ModelInfo, *, prompt: str, truncate: Truncate) -> Recipe:
    """Return the key material that all inputs of one request share.

    Raises:
        InvalidInput: the prompt has a lone surrogate.
    """
    shared = _tuple_of(_description(model), truncate.value.encode(), _utf8("prompt", prompt))
    return Recipe(model_tag(model), shared)


def fingerprints(recipe: Recipe, inputs: Sequence[Input]) -> list[bytes]:
    """Return the 32-byte key of every input.

    The 24 bytes after the tag are hashed from the whole recipe and the input.

    Raises:
        InvalidInput: a text has a lone surrogate, which UTF-8 cannot encode.
    """
    start = hashlib.blake2b(recipe.shared, digest_size=KEY_BYTES - TAG_BYTES)
    keys = []
    for row, item in enumerate(inputs):
        key = start.copy()
        key.update(_content(row, item))
        keys.append(recipe.tag + key.digest())
    return keys


def _description(model: ModelInfo) -> bytes:
    return _tuple_of(
        SCHEMA,
        model.repository.encode(),
        model.revision.encode(),
        model.digest.encode(),
        model.config_digest.encode(),
        model.tokenizer_digest.encode(),
        model.pooling.encode(),
        model.dtype.encode(),
        str(model.width).encode(),
        str(model.max_tokens).encode(),
    )


def _content(row: int, item: Input) -> bytes:
    """Prefix the kind of input, so that no text has the key of a list of ids."""
    if isinstance(item, str):
        return b"t" + _utf8(f"input[{row}]", item)
    return b"i" + np.asarray(item, dtype="<i4").tobytes()


def _utf8(field: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(field, f"has a lone surrogate at character {error.start}") from None


def _tuple_of(*parts: bytes) -> bytes:
    """Join with length prefixes: ("ab", "c") and ("a", "bc") must differ."""
    return b"".join(len(part).to_bytes(8, "little") + part for part in parts)
