"""Cache keys: 32 bytes, hashed from everything that a vector depends on.

Two inputs share a key exactly when they are certain to have the same vector; texts are hashed as
sent, without Unicode normalization. A key begins with the tag of its model, so that all entries of
a model can be found and deleted by prefix.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from embedder.cache.store.records import KEY_BYTES, TAG_BYTES
from embedder.core.outputs import OutputKind
from embedder.core.pairs import ChunkTokens, Pair
from embedder.core.types import Input, ModelInfo, Truncate
from embedder.core.utf8 import encode

SCHEMA = b"embedder-3"
"""Change it when the meaning of a cached entry changes, so that no old entry is read."""

STARTS = 8
"""Beginnings of keys that are kept: prompts are usually those of the model, of which it has few."""


def model_tag(model: ModelInfo) -> bytes:
    """Return the 8 bytes with which every key of this model begins."""
    return hashlib.blake2b(_description(model), digest_size=TAG_BYTES).digest()


class Fingerprinter:
    """Makes the keys of one model's inputs; the model is described once."""

    def __init__(self, model: ModelInfo) -> None:
        self._tag = model_tag(model)
        self._start = hashlib.blake2b(
            _tuple_of(_description(model)), digest_size=KEY_BYTES - TAG_BYTES
        )
        self._start_of = lru_cache(STARTS)(self._described)

    def keys(
        self,
        inputs: Sequence[Input],
        *,
        prompt: str,
        truncate: Truncate,
        kind: OutputKind = OutputKind.DENSE,
    ) -> list[bytes]:
        """Return the 32-byte key of every input of one request.

        The 24 bytes after the tag are hashed from the model, the end that is cut, the prompt, the
        kind of result and the input.

        Raises:
            InvalidInput: the prompt or a text has a lone surrogate, which UTF-8 cannot encode.
        """
        start = self._start_of(prompt, truncate, kind)
        keys = []
        for row, item in enumerate(inputs):
            key = start.copy()
            # The kind of input first, so that no text has the key of a list of ids.
            if isinstance(item, str):
                try:
                    key.update(b"t" + item.encode())
                except UnicodeEncodeError:
                    encode(f"input[{row}]", item)  # raises the error that names the input
            elif isinstance(item, Pair):
                key.update(b"p" + _bytes_of_pair(item, row))
            elif isinstance(item, ChunkTokens):
                key.update(b"c" + _tuple_of(item.ids.tobytes(), item.spans.tobytes()))
            else:
                key.update(b"i" + np.asarray(item, dtype="<i4").tobytes())
            keys.append(self._tag + key.digest())
        return keys

    def _described(self, prompt: str, truncate: Truncate, kind: OutputKind) -> hashlib.blake2b:
        """Return the hash of everything that the inputs of a request have in common."""
        start = self._start.copy()
        start.update(_tuple_of(truncate.value.encode(), encode("prompt", prompt)))
        if kind is not OutputKind.DENSE:
            # An input begins with a letter, a kind with its length: neither is part of the other.
            start.update(_tuple_of(kind.value.encode()))
        return start


def _bytes_of_pair(pair: Pair, row: int) -> bytes:
    return _tuple_of(
        encode(f"input[{row}].query", pair.query), encode(f"input[{row}].text", pair.text)
    )


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


def _tuple_of(*parts: bytes) -> bytes:
    """Join with length prefixes: ("ab", "c") and ("a", "bc") must differ."""
    return b"".join([len(part).to_bytes(8, "little") + part for part in parts])
