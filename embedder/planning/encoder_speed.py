"""Measure the encoder and the tokenizer of a model on this machine, without a service.

On a CPU a replica has one core, and cores share their memory and often their arithmetic units.
Therefore as many processes as there are cores compute at the same time, each with one thread. They
are measured by processor time, so that other work on the machine counts little.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.synchronize import Barrier
from statistics import fmean, median

from embedder.backends.precision import existing_device
from embedder.core.types import TokenBatch, Truncate
from embedder.inference.loading import LoadedBackend, load_model, load_tokenizer
from embedder.inference.memory import UNMEASURED_TOKENS
from embedder.measurements.host import usable_cores
from embedder.models.files import ModelFiles
from embedder.planning.calibration import BatchTimes, EncoderSpeed
from embedder.planning.machine import Clock, durations
from embedder.settings.model import EmbedderSettings

SHORTEST, FACTOR = 8, 4
"""Tokens of the shortest measured text, and the ratio of one length to the one before."""

RUNS = 5
"""Fewest measured batches of a kind."""

IN_TURN = 4
"""Batches of a measurement for each batch in flight, if a device has several in flight."""

SENTENCE = "Vectors of short texts, such as questions and headlines, are compared by their angle. "

_barrier: Barrier | None = None
"""Of the processes that measure at the same time; set in each before it measures."""


def measure_encoder(
    settings: EmbedderSettings, *, seconds: float = 0.5, processes: int | None = None
) -> EncoderSpeed:
    """Measure batches of texts of several lengths, each kind for ``seconds``.

    The times are the means of ``processes`` that measure at the same time; None is one for each
    core, and one on a GPU. Without a token budget in the settings a full batch has the default one.

    Raises:
        ConfigurationError: as `load_model`.
    """
    device = existing_device(settings.backend.device).type
    backend: dict[str, object] = {"device": device}
    if device == "cpu":
        backend |= {"threads": 1, "shared_weights": True}
    budget = settings.batching.max_tokens or UNMEASURED_TOKENS[device]
    settings = settings.model_copy(
        update={
            "backend": settings.backend.model_copy(update=backend),
            "batching": settings.batching.model_copy(update={"max_tokens": budget}),
        }
    )
    if processes is None:
        processes = usable_cores() if device == "cpu" else 1
    if processes == 1:
        return _measure(settings, seconds)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        processes, context, initializer=_share, initargs=(context.Barrier(processes),)
    ) as pool:
        return mean_speed(list(pool.map(_measure, [settings] * processes, [seconds] * processes)))


def typical(run: Callable[[], object], seconds: float, clock: Clock) -> float:
    """Return the median of the `durations` of at least `RUNS` runs."""
    return median(durations(run, seconds, clock, least=RUNS))


def _share(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _measure(settings: EmbedderSettings, seconds: float) -> EncoderSpeed:
    loaded = load_model(settings)
    clock = time.thread_time if loaded.backend.device == "cpu" else time.perf_counter
    info = loaded.info
    if _barrier is not None:
        _barrier.wait()
    powers = range(info.max_tokens.bit_length())
    lengths = {min(SHORTEST * FACTOR**power, info.max_tokens) for power in powers}
    batches = tuple(_batch_times(loaded, length, seconds, clock) for length in sorted(lengths))
    tokenizer = load_tokenizer(ModelFiles.open(settings.model))
    text = SENTENCE * max(1, info.max_tokens // 32)
    tokens = len(tokenizer.encode([text], truncate=Truncate.NONE).tokens.ids)
    tokenize_s = typical(
        lambda: tokenizer.encode([text], truncate=Truncate.NONE), seconds, time.thread_time
    )
    return EncoderSpeed(
        model=info.name,
        dtype=info.dtype,
        device=info.device.partition(":")[0],
        max_tokens=info.max_tokens,
        batch_tokens=info.max_batch_tokens,
        batches=batches,
        tokens_per_core_s=tokens / tokenize_s,
        characters_per_token=len(text) / tokens,
    )


def _batch_times(loaded: LoadedBackend, length: int, seconds: float, clock: Clock) -> BatchTimes:
    backend, texts = loaded.backend, max(1, loaded.info.max_batch_tokens // length)
    alone, full = (TokenBatch.of([[0] * length] * count) for count in (1, texts))
    kinds = backend.outputs[:1]
    alone_s = typical(lambda: backend.compute(alone, kinds), seconds, clock)
    if (in_flight := backend.max_concurrency) == 1:
        full_s = typical(lambda: backend.compute(full, kinds), seconds, clock)
    else:
        batches = [full] * in_flight * IN_TURN
        with ThreadPoolExecutor(in_flight) as pool:
            all_s = typical(lambda: list(pool.map(backend.encode, batches)), seconds, clock)
        full_s = all_s / len(batches)
    return BatchTimes(text_tokens=length, alone_s=alone_s, texts=texts, full_s=full_s)


def mean_speed(speeds: list[EncoderSpeed]) -> EncoderSpeed:
    """Return the means of the times of several processes."""
    batches = tuple(
        one.model_copy(
            update={
                name: fmean(getattr(speed.batches[at], name) for speed in speeds)
                for name in ("alone_s", "full_s")
            }
        )
        for at, one in enumerate(speeds[0].batches)
    )
    rate = fmean(speed.tokens_per_core_s for speed in speeds)
    return speeds[0].model_copy(update={"batches": batches, "tokens_per_core_s": rate})
