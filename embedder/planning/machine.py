"""Measure a machine for a model: cores, free memory, and the speed of matrix products.

The time of a matrix product is a constant for reading the matrix, plus a time for every row. Both
follow from two measured products, one of few rows and one of many.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, product

import torch
from torch.nn.functional import linear

from embedder.backends.precision import existing_device, has_fast_bfloat16
from embedder.measurements.host import available_bytes, usable_cores
from embedder.models.model_size import ModelShape

FEW, MANY = 8, 512
"""Rows of the two measured products: about one short text, and a batch."""

MANY_OF_A_GPU = 32_768
"""`MANY` on a GPU, which overlaps products of only 512 rows."""

MATRICES_BYTES = 64 * 2**20
"""Total size of the matrices that the products cycle through, so that none stays in a cache."""

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Speed:
    """The speed of matrix products in one number format with one number of CPU threads.

    Each row takes its operations over ``row_flops_per_s``; a matrix takes
    ``matrix_s_per_parameter`` for any number of rows.
    """

    dtype: str
    threads: int
    row_flops_per_s: float
    matrix_s_per_parameter: float

    @classmethod
    def of(
        cls, dtype: str, threads: int, few_s: float, many_s: float, *, many: int = MANY
    ) -> Speed:
        """Return the speed from the seconds per parameter of products of `FEW` and ``many`` rows.

        ``few_s`` is usually below a twelfth of ``many_s``. It is capped at a quarter, because noise
        may make the difference of the two meaningless.
        """
        few_s = min(few_s, many_s / 4)
        row_s = (many_s - few_s) / (many - FEW)
        matrix_s = max(0.0, few_s - FEW * row_s)
        return cls(dtype, threads, 2 / row_s, matrix_s)


@dataclass(frozen=True, slots=True)
class MeasuredMachine:
    """A device, its free memory, and its speed for every format and number of threads."""

    device: str
    cores: int
    free_bytes: int
    speeds: tuple[Speed, ...]


def measure(
    shape: ModelShape,
    *,
    device: str = "auto",
    dtypes: Sequence[str] = (),
    threads: Sequence[int] = (),
    seconds: float = 0.8,
) -> MeasuredMachine:
    """Measure this machine with products of a model's shape for about ``seconds``.

    Empty ``dtypes`` mean float32, and bfloat16 if the hardware computes it; empty ``threads`` mean
    one thread and all cores. Other threads of this process must not compute during the measurement.

    Raises:
        ConfigurationError: torch does not have the device.
    """
    found = existing_device(device)
    cores, threads_before = usable_cores(), torch.get_num_threads()
    if not dtypes:
        dtypes = ("float32", "bfloat16") if has_fast_bfloat16(found) else ("float32",)
    threads = (threads or sorted({1, cores})) if found.type == "cpu" else (1,)
    cases = list(product(dtypes, threads))
    try:
        speeds = [_speed(shape, found, *case, seconds / len(cases)) for case in cases]
    finally:
        torch.set_num_threads(threads_before)
    return MeasuredMachine(str(found), cores, available_bytes(str(found)), tuple(speeds))


@torch.inference_mode()
def _speed(
    shape: ModelShape, device: torch.device, dtype: str, threads: int, seconds: float
) -> Speed:
    kind: torch.dtype = getattr(torch, dtype)
    many = MANY if device.type == "cpu" else MANY_OF_A_GPU
    count = max(1, MATRICES_BYTES // (shape.width * shape.inner * kind.itemsize))
    matrices = cycle(torch.ones(count, shape.inner, shape.width, dtype=kind, device=device))
    torch.set_num_threads(threads)

    def seconds_of(rows: int) -> float:
        block = torch.ones(rows, shape.width, dtype=kind, device=device)

        def run() -> None:
            linear(block, next(matrices))
            if device.type != "cpu":
                getattr(torch, device.type).synchronize()

        return fastest(run, seconds / 2) / (shape.width * shape.inner)

    return Speed.of(dtype, threads, seconds_of(FEW), seconds_of(many), many=many)


def fastest(run: Callable[[], None], seconds: float, clock: Clock = time.perf_counter) -> float:
    """Return the shortest of the `durations`, after a warm-up.

    The shortest one counts because other processes may slow single runs down.
    """
    run()
    return min(durations(run, seconds, clock))


def durations(
    run: Callable[[], object], seconds: float, clock: Clock, *, least: int = 1
) -> list[float]:
    """Return the seconds of each run that starts within ``seconds``, of ``least`` runs or more."""
    ends, times = clock() + seconds, list[float]()
    while len(times) < least or clock() < ends:
        began = clock()
        run()
        times.append(clock() - began)
    return times
