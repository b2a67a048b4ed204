"""A device that computes when a test allows it, and a generator that uses it.

The vectors are those of `fake_model`: the sum of the ids, their number, the first and the last. The
tokenizer is a real one with letters as tokens.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedder import EmbedderSettings, EmbeddingGenerator
from embedder.batching.tuning import Tuning
from embedder.core.errors import BackendFailure, OutOfMemory
from embedder.core.outputs import OutputKind
from embedder.core.types import ModelInfo, Rows, TokenBatch, Vectors
from embedder.inference.loading import LoadedBackend
from embedder.settings.cache import CacheSettings
from embedder.settings.model import BatchSettings, ModelSettings
from tests.tiny_models import PIECES, SPECIAL, VOCABULARY, write_layout
from tests.unit.fake_model import MODEL, settle
from tests.unit.waiting import LONG_S

INFO = replace(MODEL, max_tokens=24, vocabulary_size=len(VOCABULARY), max_batch_tokens=64)
POISON = "zzz"
"""A text on which the device fails."""


class Device:
    """A backend that computes while its gate is open, in the thread of its caller."""

    name = "test"
    device = "cpu"
    dtype = "float32"
    width = 4
    outputs: tuple[OutputKind, ...] = (OutputKind.DENSE,)
    token_width = 0
    padded = False
    max_batch_tokens = 64
    memory_bytes = 1000
    max_concurrency = 1
    notes: tuple[str, ...] = ()

    def __init__(self, *, capacity: int = 10**6) -> None:
        self.capacity = capacity
        self.threads: set[str] = set()
        self.batches: list[list[list[int]]] = []
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    @property
    def rows(self) -> list[list[int]]:
        """Return every computed input, in order."""
        return [row for batch in self.batches for row in batch]

    def encode(self, tokens: TokenBatch) -> Vectors:
        """Return the vectors of the ids, once the gate is open."""
        rows = [row.tolist() for row in tokens.rows()]
        self.threads.add(threading.current_thread().name)
        self.entered.set()
        assert self.gate.wait(LONG_S), "the test has left the gate closed"
        if sum(map(len, rows)) > self.capacity:
            raise OutOfMemory("full")
        if ids(POISON) in rows:
            raise BackendFailure("poison")
        self.batches.append(rows)
        return vectors_of_ids(rows)

    def compute(
        self, tokens: TokenBatch, kinds: Collection[OutputKind]
    ) -> Mapping[OutputKind, Rows]:
        """Return the same vectors for every kind."""
        return {kind: self.encode(tokens) for kind in kinds}

    def block(self) -> None:
        """Close the gate."""
        self.entered.clear()
        self.gate.clear()


def ids(text: str) -> list[int]:
    """Return the token ids of words of lower-case letters."""
    pieces = [
        letter if at == 0 else f"##{letter}"
        for word in text.split()
        for at, letter in enumerate(word)
    ]
    numbers = [len(SPECIAL) + PIECES.index(piece) for piece in pieces]
    return [SPECIAL.index("[CLS]"), *numbers, SPECIAL.index("[SEP]")]


def word(number: int) -> str:
    """Return the word of letters for a number."""
    return "".join("abcdefghij"[int(digit)] for digit in str(number))


def vectors_of_ids(rows: Sequence[Sequence[int]]) -> Vectors:
    """Return the vectors of the device for ids."""
    numbers = [[sum(row), len(row), row[0], row[-1]] for row in rows]
    return np.array(numbers, np.float32).reshape(-1, 4)


def vectors_of(texts: Sequence[str]) -> Vectors:
    """Return the normalized vectors of the device for texts."""
    raw = vectors_of_ids([ids(text) for text in texts]).astype(np.float64)
    unit: Vectors = (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)
    return unit


def loaded(device: Device, info: ModelInfo = INFO, tuning: Tuning | None = None) -> LoadedBackend:
    """Return the device as a loaded model."""
    return LoadedBackend(device, info, tuning)


def make_generator(
    patch: pytest.MonkeyPatch,
    directory: Path,
    device: Device,
    *,
    info: ModelInfo = INFO,
    tuning: Tuning | None = None,
    batching: BatchSettings = BatchSettings(),  # noqa: B008 - frozen
    cache_bytes: int = 0,
    ttl_s: float | None = None,
) -> EmbeddingGenerator:
    """Return a generator that computes on the device."""
    patch.setattr("embedder.generator.load_model", lambda _: loaded(device, info, tuning))
    return EmbeddingGenerator(
        settings=EmbedderSettings(
            model=ModelSettings(name=str(write_layout(directory))),
            batching=batching,
            cache=CacheSettings(max_bytes=cache_bytes, ttl_s=ttl_s),
        )
    )


def settled(generator: EmbeddingGenerator) -> EmbeddingGenerator:
    """Return the generator after its event loop has run everything that is ready."""
    generator._loop.submit(settle()).result(LONG_S)
    return generator
