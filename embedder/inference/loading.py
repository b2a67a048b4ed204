"""Load a model: check it against published vectors, measure its batch budget, describe it.

Loading blocks the caller, so it is called in a thread.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

from embedder.backends.derived_files import cache_folder
from embedder.backends.protocol import Backend
from embedder.batching.tuning import Tuning, tune, tuning_batch
from embedder.core.errors import BackendFailure, ConfigurationError, OutOfMemory
from embedder.core.types import ModelInfo, TokenBatch
from embedder.inference.backend.load import load_backend
from embedder.inference.memory import BOUNDS, batch_bytes
from embedder.inference.selftest import check_golden_vectors
from embedder.inference.stored_tuning import shared_tuning
from embedder.inference.tokenization import FastTokenizer
from embedder.inference.tokenizer.multi_vector import MultiVectorInputs
from embedder.measurements.host import (
    available_bytes,
    hardware_name,
    return_freed_memory,
    usable_cores,
)
from embedder.models.files import ModelFiles
from embedder.models.model_size import ModelShape
from embedder.settings.model import BackendSettings, BatchSettings, EmbedderSettings

TUNING_INPUT_TOKENS = 64
"""Tokens of an input while the batch budget is measured: about the length of common texts."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedBackend:
    """A backend that has computed a batch, with the description of its model."""

    backend: Backend
    info: ModelInfo
    tuning: Tuning | None


def load_tokenizer(files: ModelFiles) -> FastTokenizer:
    """Load the tokenizer of a model.

    Raises:
        ConfigurationError: there is no fast tokenizer, or the limit leaves no room for a text.
    """
    state = files.tokenizer_files.state
    return FastTokenizer.load(
        state,
        max_tokens=files.max_tokens,
        lower_case=files.lower_case,
        pairs=files.layout.classifier is not None,
        multi_vector=_multi_vector_inputs(files),
    )


def _multi_vector_inputs(files: ModelFiles) -> MultiVectorInputs | None:
    """Return how a multi-vector model reads texts; None if it reads them as other models."""
    described = files.layout.multi_vector
    if described is None or described.file is not None:
        return None
    return MultiVectorInputs(described, files.prompts, files.tokenizer_files.mask)


def load_model(settings: EmbedderSettings) -> LoadedBackend:
    """Load the model that the settings name, and compute a first batch with it.

    Raises:
        ConfigurationError: the model is missing, unsafe or not supported, its digest or its
            vectors are not the published ones, or it computes no batch.
    """
    started_s = time.monotonic()
    files = ModelFiles.open(settings.model)
    digest = files.digest  # verified before any computation with the weights
    backend = _load_warm_backend(files, settings)
    check_golden_vectors(files, backend, load_tokenizer(files))
    tuning = _tune(files, backend, settings)
    info = _describe(files, digest, backend, tuning, settings.batching)
    return_freed_memory()
    logger.info(
        "loaded %s: %s %s on %s in %.1f s",
        info.name,
        info.backend,
        info.dtype,
        info.device,
        time.monotonic() - started_s,
    )
    for note in info.notes:
        logger.info("%s: %s", info.name, note)
    return LoadedBackend(backend, info, tuning)


def _load_warm_backend(files: ModelFiles, settings: EmbedderSettings) -> Backend:
    """Load the backend of a model and compute a batch of a short and a long input."""
    try:
        backend = load_backend(files, settings.backend)
        lengths = (1, min(files.max_tokens, 512))
        backend.compute(TokenBatch.of([[0] * length for length in lengths]), backend.outputs)
    except BackendFailure as error:
        raise ConfigurationError(f"{files.name} computes no batch: {error.reason}") from error
    return backend


def _tune(files: ModelFiles, backend: Backend, settings: EmbedderSettings) -> Tuning | None:
    """Find the batch budget, unless the settings fix it or turn measuring off."""
    batching = settings.batching
    if batching.max_tokens is not None or batching.autotune_s == 0:
        return None
    bounds = BOUNDS[backend.device.partition(":")[0]]
    longest = min(TUNING_INPUT_TOKENS, files.max_tokens)

    def run(tokens: TokenBatch) -> object:
        return backend.compute(tokens, backend.outputs)

    def fits(tokens: int) -> bool:
        needed = batch_bytes(ModelShape.of(files.config), backend.dtype, tokens)
        return needed < available_bytes(backend.device)

    def works(tokens: int) -> bool:
        if not fits(tokens):
            return False
        try:
            run(tuning_batch(tokens, longest))
        except OutOfMemory:
            return False
        return True

    measure = partial(tune, run, bounds, longest=longest, seconds=batching.autotune_s, fits=fits)
    if not settings.backend.shared_weights:
        return measure()
    facts = (*_facts(files, backend, settings.backend), bounds, longest, batching.autotune_s)
    return shared_tuning(cache_folder(settings.backend.cache_dir, "tuning"), facts, measure, works)


def _facts(files: ModelFiles, backend: Backend, settings: BackendSettings) -> tuple[object, ...]:
    """Return what the speed of a backend depends on, apart from the batches."""
    machine = (hardware_name(backend.device), usable_cores(), settings.threads)
    model = (files.digest, files.config_digest, backend.name, backend.dtype)
    return *map(version, ("embedder", "torch")), *machine, *model


def _describe(
    files: ModelFiles,
    digest: str,
    backend: Backend,
    tuning: Tuning | None,
    batching: BatchSettings,
) -> ModelInfo:
    default = tuning.max_tokens if tuning else backend.max_batch_tokens
    notes = (f"{tuning.max_tokens:,} tokens a batch: {tuning.reason}",) if tuning else ()
    classifier = files.layout.classifier
    return ModelInfo(
        name=files.name,
        repository=files.source.repository,
        revision=files.source.revision,
        digest=digest,
        config_digest=files.config_digest,
        tokenizer_digest=files.tokenizer_digest,
        width=backend.width,
        max_tokens=files.max_tokens,
        vocabulary_size=files.vocabulary_size,
        max_batch_tokens=batching.max_tokens or default,
        pooling=files.pooling,
        dtype=backend.dtype,
        backend=backend.name,
        device=backend.device,
        prompts=dict(files.prompts),
        default_prompt=files.default_prompt,
        similarity=files.similarity,
        matryoshka=_checked_matryoshka(files, backend.width),
        truncation=files.tokenizer_files.truncation,
        memory_bytes=backend.memory_bytes,
        notes=(*files.layout.notes, *backend.notes, *notes),
        outputs=backend.outputs,
        labels=classifier.labels if classifier else (),
        activation=classifier.activation if classifier else "identity",
        token_width=backend.token_width,
    )


def _checked_matryoshka(files: ModelFiles, width: int) -> tuple[int, ...]:
    if files.matryoshka and max(files.matryoshka) > width:
        raise ConfigurationError(
            f"model.matryoshka holds {max(files.matryoshka)}; {files.name!r} has width {width}"
        )
    return files.matryoshka
