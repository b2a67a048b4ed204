"""What a machine offers a model: cores, free memory, and how fast it multiplies.

A matrix product costs a time for its matrix, which is read, and a time for every row. Both are
found from two products, of few rows and of many. Knows nothing of what is wanted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, product
from typing import TYPE_CHECKING

from embedder.core.errors import ConfigurationError
from embedder.core.host import available_bytes, usable_cores
from embedder.inference.model_size import ModelShape

if TYPE_CHECKING:
    import torch

FEW, MANY = 8, 512
"""Rows of the two products: about the shortest text alone, and a batch."""

MANY_OF_A_GPU = 32_768
"""The same of a GPU, which has started on the next product before 512 rows are through."""

MATRICES_BYTES = 64 * 2**20
"""Products take turns with this much of matrices, so that none waits in a cache for its turn."""

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast matrices are multiplied in one number format by one number of CPU threads.

    ``row_flops_per_s`` is what one more row adds, ``matrix_s_per_parameter`` what a matrix costs
    whatever the number of rows.
    """

    dtype: str
    threads: int
    row_flops_per_s: float
    matrix_s_per_parameter: float

    @classmethod
    def of(
        cls, dtype: str, threads: int, few_s: float, many_s: float, *, many: int = MANY
    ) -> Speed:
        """Take the seconds, by parameter, of products of `FEW` and of ``many`` rows.

        Few rows take at most a twelfth of what many do; where noise makes it more, and the
        difference meaningless, a quarter is taken for it.
        """
        few_s = min(few_s, many_s / 4)
        row_s = (many_s - few_s) / (many - FEW)
        matrix_s = max(0.0, few_s - FEW * row_s)
        return cls(dtype, threads, 2 / row_s, matrix_s)


@dataclass(frozen=True, slots=True)
class Machine:
    """A device with its free memory, and its speed for every format and number of threads."""

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
) -> Machine:
    """Measure this machine with products of a model's shape, for about so many seconds.

    Without ``dtypes``, float32 is measured, and bfloat16 where the hardware has it; without
    ``threads``, one and all cores. Other threads of this process must not compute meanwhile.

    Raises:
        ConfigurationError: the device is not there.
    """
    from embedder.backends.precision import has_fast_bfloat16

    found = _device(device)
    cores = usable_cores()
    if not dtypes:
        dtypes = ("float32", "bfloat16") if has_fast_bfloat16(found) else ("float32",)
    if found.type != "cpu":
        threads = (1,)
    cases = list(product(dtypes, threads or sorted({1, cores})))
    speeds = [_speed(shape, found, dtype, count, seconds / len(cases)) for dtype, count in cases]
    return Machine(str(found), cores, available_bytes(str(found)), tuple(speeds))


def _device(name: str) -> torch.device:
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ConfigurationError(f"backend.device is {name!r}, which torch has not") from error


def _speed(
    shape: ModelShape, device: torch.device, dtype: str, threads: int, seconds: float
) -> Speed:
    import torch
    from torch.nn.functional import linear

    kind: torch.dtype = getattr(torch, dtype)
    many = MANY if device.type == "cpu" else MANY_OF_A_GPU
    count = max(1, MATRICES_BYTES // (shape.width * shape.inner * kind.itemsize))
    matrices = torch.ones(count, shape.inner, shape.width, dtype=kind, device=device)
    turns = cycle(matrices)

    def seconds_of(rows: int) -> float:
        block = torch.ones(rows, shape.width, dtype=kind, device=device)

        def run() -> None:
            linear(block, next(turns))
            if device.type != "cpu":
                getattr(torch, device.type).synchronize()

        return fastest(run, seconds / 2) / (shape.width * shape.inner)

    with _threads(threads), torch.inference_mode():
        return Speed.of(dtype, threads, seconds_of(FEW), seconds_of(many), many=many)


def fastest(run: Callable[[], None], seconds: float, clock: Clock = time.perf_counter) -> float:
    """Return the seconds of the fastest of the runs that fit into a time, after one to warm up.

    There is one at least. The fastest counts because others use the machine too, now and then.
    """
    run()
    ends = clock() + seconds
    best = float("inf")
    while True:
        began = clock()
        run()
        ended = clock()
        best = min(best, ended - began)
        if ended >= ends:
            return best


@contextmanager
def _threads(count: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
