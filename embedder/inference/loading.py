"""A model made ready to serve: loaded, checked against published vectors, measured, described.

Blocks for as long as that takes, so it is called from a thread. Knows nothing of queues, pools or
requests.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from embedder.backends.protocol import Backend
from embedder.batching.tuning import Tuning, tune
from embedder.core.errors import BackendFailure, ConfigurationError
from embedder.core.host import available_bytes, return_freed_memory
from embedder.core.types import ModelInfo, TokenBatch
from embedder.inference.backend import load_backend
from embedder.inference.memory import BOUNDS, batch_bytes
from embedder.inference.selftest import check_golden_vectors
from embedder.inference.tokenization import FastTokenizer
from embedder.models.files import ModelFiles
from embedder.settings.model import BatchSettings, EmbedderSettings

TUNED_INPUT = 64
"""Tokens of one input while measuring: about the length of the texts that are served most."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedBackend:
    """A backend that has computed something, and what is known of its model."""

    backend: Backend
    info: ModelInfo
    tuning: Tuning | None


def load_tokenizer(files: ModelFiles) -> FastTokenizer:
    """Load the tokenizer of a model.

    Raises:
        ConfigurationError: there is no fast tokenizer, or the limit leaves no room for a text.
    """
    state = files.tokenizer_files.state
    return FastTokenizer.load(state, max_tokens=files.max_tokens, lower_case=files.lower_case)


def load_model(settings: EmbedderSettings) -> LoadedBackend:
    """Load the model that the settings name; it has computed a batch when this returns.

    Raises:
        ConfigurationError: the model is missing, unsafe, not supported or not what it should be.
    """
    began = time.monotonic()
    files = ModelFiles.open(settings.model)
    digest = files.digest  # before anything computes with weights that are not the pinned ones
    backend = _computing(files, settings)
    check_golden_vectors(files, backend, load_tokenizer(files))
    tuning = _tuned(files, backend, settings.batching)
    info = _describe(files, digest, backend, tuning, settings.batching)
    return_freed_memory()
    seconds = time.monotonic() - began
    logger.info(
        "loaded %s: %s %s on %s in %.1f s",
        info.name,
        info.backend,
        info.dtype,
        info.device,
        seconds,
    )
    for note in info.notes:
        logger.info("%s: %s", info.name, note)
    return LoadedBackend(backend, info, tuning)


def _computing(files: ModelFiles, settings: EmbedderSettings) -> Backend:
    """Load the backend of a model and compute a batch, short and long."""
    try:
        backend = load_backend(files, settings.backend)
        lengths = (1, min(files.max_tokens, 512))
        backend.encode(TokenBatch.of([[0] * length for length in lengths]))
    except BackendFailure as error:
        raise ConfigurationError(f"{files.name} computes no batch: {error.reason}") from error
    return backend


def _tuned(files: ModelFiles, backend: Backend, batching: BatchSettings) -> Tuning | None:
    """Find the budget of a batch, unless the operator names one or wants no measuring."""
    if batching.max_tokens is not None or batching.tune_s == 0:
        return None
    kind = backend.device.partition(":")[0]

    def fits(tokens: int) -> bool:
        return batch_bytes(files.config, backend.dtype, tokens) < available_bytes(backend.device)

    return tune(
        backend.encode,
        BOUNDS[kind],
        longest=min(TUNED_INPUT, files.max_tokens),
        seconds=batching.tune_s,
        fits=fits,
    )


def _describe(
    files: ModelFiles,
    digest: str,
    backend: Backend,
    tuning: Tuning | None,
    batching: BatchSettings,
) -> ModelInfo:
    measured = tuning.max_tokens if tuning else backend.max_batch_tokens
    notes = (f"{tuning.max_tokens:,} tokens a batch: {tuning.reason}",) if tuning else ()
    return ModelInfo(
        name=files.name,
        repository=files.repository,
        revision=files.revision,
        digest=digest,
        config_digest=files.config_digest,
        tokenizer_digest=files.tokenizer_digest,
        width=backend.width,
        max_tokens=files.max_tokens,
        vocabulary_size=files.vocabulary_size,
        max_batch_tokens=batching.max_tokens or measured,
        pooling=files.pooling,
        dtype=backend.dtype,
        backend=backend.name,
        device=backend.device,
        prompts=dict(files.prompts),
        default_prompt=files.default_prompt,
        similarity=files.similarity,
        matryoshka=_matryoshka(files, backend.width),
        truncation=files.tokenizer_files.truncation,
        memory_bytes=backend.memory_bytes,
        notes=(*files.notes, *backend.notes, *notes),
    )


def _matryoshka(files: ModelFiles, width: int) -> tuple[int, ...]:
    if files.matryoshka and max(files.matryoshka) > width:
        raise ConfigurationError(
            f"model.matryoshka holds {max(files.matryoshka)}; {files.name!r} has width {width}"
        )
    return files.matryoshka
