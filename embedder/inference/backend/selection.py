"""Which backend and number format compute a model fastest on this CPU: measured once, then stored.

Every candidate computes the same batches in turn; one whose vectors are not close to float32 in
torch is left out. The result is stored by everything that it depends on, so later starts read it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from embedder.backends.derived_files import cache_folder, derived_file
from embedder.backends.precision import (
    Agreement,
    existing_device,
    reduced_precision,
    reference_batch,
)
from embedder.backends.protocol import Backend
from embedder.core.errors import ConfigurationError, EmbedderError
from embedder.core.types import TokenBatch
from embedder.measurements.processor import processor_description
from embedder.models.files import ModelFiles
from embedder.settings.model import BackendSettings

Load = Callable[[ModelFiles, BackendSettings], Backend]

SHAPES = ((1, 20), (8, 20), (64, 8), (8, 60), (8, 200))
"""Inputs and tokens of each measured batch: what lone, concurrent and bulk requests cause."""

SHAPE_S = 0.5
TOTAL_S = 3.0
"""Seconds of measuring one shape, and after which no further shape is measured."""

ROUNDS = 5

MIN_GAIN = 1.05
"""torch is selected unless another backend is faster by this factor, which exceeds the noise."""

_NAME = "selection.json"
_SCHEMA = 1
"""Increase this number when a backend or the measurement changes, so that all measure again."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Choice:
    """A backend, its number format, and a sentence with the figures that decided."""

    backend: str
    dtype: str
    note: str


@dataclass(frozen=True, slots=True)
class Contender:
    """A loaded candidate and its agreement with float32."""

    backend: Backend
    agreement: Agreement


def candidates(files: ModelFiles, settings: BackendSettings) -> tuple[str, ...]:
    """Return the backends that may compute a model with these settings; torch always may."""
    if existing_device(settings.device).type != "cpu" or settings.dtype == "float16":
        return ("torch",)
    from embedder.backends.openvino.backend import unsupported_reason

    return ("torch",) if unsupported_reason(files) else ("torch", "openvino")


def choose(files: ModelFiles, settings: BackendSettings, load: Mapping[str, Load]) -> Choice:
    """Return the stored choice, or measure and store it; processes of one node wait for the first.

    ``load`` has the function that loads each candidate; torch is one of them.

    Raises:
        EmbedderError: torch does not load the model.
    """
    measured: list[Choice] = []

    def create(folder: Path) -> None:
        measured.append(_measured(files, settings, load))
        (folder / _NAME).write_text(json.dumps(asdict(measured[0])))

    try:
        folder = cache_folder(settings.cache_dir, "selection")
        path = derived_file(folder, _key(files, settings, load), _NAME, create)
    except ConfigurationError as error:
        logger.warning("%s: the choice of its backend is not stored: %s", files.name, error)
        return measured[0] if measured else _measured(files, settings, load)
    return Choice(**json.loads(path.read_bytes()))


def _key(files: ModelFiles, settings: BackendSettings, load: Mapping[str, Load]) -> str:
    parts = (
        _SCHEMA,
        files.digest,
        json.dumps(files.config, sort_keys=True),
        processor_description(),
        torch.backends.cpu.get_cpu_capability(),
        settings.threads or torch.get_num_threads(),
        settings.dtype,
        *(f"{name} {version(name)}" for name in sorted(load)),
    )
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:32]


def _measured(files: ModelFiles, settings: BackendSettings, load: Mapping[str, Load]) -> Choice:
    batch = reference_batch(files.vocabulary_size, files.max_tokens)
    exact = load["torch"](files, settings.model_copy(update={"dtype": "float32"}))
    expected = exact.compute(batch, exact.outputs)
    contenders = {}
    for name, loads in load.items():
        try:
            for dtype in _formats(settings):
                backend = loads(files, settings.model_copy(update={"name": name, "dtype": dtype}))
                agreement = Agreement.of(expected, backend.compute(batch, backend.outputs))
                if agreement.close or (name == "torch" and dtype == settings.dtype):
                    contenders[name] = Contender(backend, agreement)
                    break
        except (EmbedderError, ImportError, OSError) as error:
            if name == "torch":
                raise
            logger.warning("%s: %s fails: %s", files.name, name, error)
    return fastest(contenders, _speeds(files, {name: c.backend for name, c in contenders.items()}))


def _formats(settings: BackendSettings) -> Sequence[str]:
    """Return the number formats to try, the fastest first."""
    if settings.dtype != "auto":
        return (settings.dtype,)
    narrow = reduced_precision(torch.device("cpu"))
    return ("float32",) if narrow is None else (narrow, "float32")


def fastest(contenders: Mapping[str, Contender], speeds: Mapping[str, Sequence[float]]) -> Choice:
    """Return the contender with the highest mean speed, if it is faster than torch by `MIN_GAIN`.

    ``speeds`` has the speed of each beside torch's for every measured shape; the mean is geometric.
    """
    means = {name: statistics.geometric_mean(ratios) for name, ratios in speeds.items()}
    best = max(means, key=means.__getitem__)
    chosen = best if means[best] >= MIN_GAIN else "torch"
    shown = ", ".join(
        f"{name} {means[name]:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        for name, ratios in speeds.items()
        if name != "torch"
    )
    backend, agreement = contenders[chosen].backend, contenders[chosen].agreement
    why = f"measured speed beside torch: {shown}" if shown else "no other backend is accurate here"
    note = f"{chosen}: {why}; {backend.dtype}: {agreement.text}"
    return Choice(chosen, backend.dtype, note)


def _speeds(files: ModelFiles, backends: Mapping[str, Backend]) -> dict[str, list[float]]:
    """Return for each backend torch's seconds divided by its own, of every shape."""
    speeds: dict[str, list[float]] = {name: [] for name in backends}
    ends_s = time.monotonic() + TOTAL_S
    for count, length in SHAPES:
        if speeds["torch"] and time.monotonic() > ends_s:
            break
        batch = random_batch(files, count, min(length, files.max_tokens))
        for name, ratio in _ratios(batch, backends).items():
            speeds[name].append(ratio)
    return speeds


def random_batch(files: ModelFiles, count: int, length: int) -> TokenBatch:
    """Return inputs of random ids with lengths of three quarters of ``length`` to ``length``."""
    random = np.random.default_rng(count)
    lengths = random.integers(math.ceil(length * 3 / 4), length + 1, size=count)
    rows = [random.integers(0, files.vocabulary_size, size=size) for size in lengths]
    return TokenBatch.of([row.astype(np.int32) for row in rows])


def _ratios(batch: TokenBatch, backends: Mapping[str, Backend]) -> dict[str, float]:
    """Let the backends take turns; return torch's seconds divided by those of each."""
    for backend in backends.values():  # kernels for new shapes are compiled
        backend.encode(batch)
    rounds: list[dict[str, float]] = []
    ends_s = time.monotonic() + SHAPE_S
    while not rounds or (len(rounds) < ROUNDS and time.monotonic() < ends_s):
        rounds.append({name: _seconds(backend, batch) for name, backend in backends.items()})
    return {
        name: statistics.median(each["torch"] / each[name] for each in rounds) for name in backends
    }


def _seconds(backend: Backend, batch: TokenBatch) -> float:
    started_s = time.perf_counter()
    backend.encode(batch)
    return time.perf_counter() - started_s
