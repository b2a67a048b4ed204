"""The rate of a model's matrix products alone on a device, and the clock of all figures."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.nn.functional as functional

from benchmarks.gpu_models import Model


class Ceiling:
    """All linear layers of a model in one number format, ``rows`` tokens at a time."""

    def __init__(self, model: Model, dtype: torch.dtype, rows: int) -> None:
        self._device = model.device
        self._flop = rows * model.flop
        self._weights = [_drawn(shape, model.device, dtype) for shape in model.products]
        widths = {columns for _, columns in model.products}
        self._rows = {width: _drawn((rows, width), model.device, dtype) for width in widths}

    def teraflops(self, seconds: float) -> float:
        """Return 10¹² operations a second over about ``seconds``, without torch's own bias."""
        once = seconds_of(lambda: self._compute(1))
        times = max(1, round(seconds / once))
        return times * self._flop / seconds_of(lambda: self._compute(times)) / 1e12

    @torch.inference_mode()
    def _compute(self, times: int) -> None:
        for _ in range(times):
            for weight in self._weights:
                functional.linear(self._rows[weight.shape[1]], weight)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long something takes that only returns when it is done."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _drawn(shape: tuple[int, int], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    # Around zero: what a device computes with all signs alike takes less power, and is faster.
    return torch.randn(shape, device=device).to(dtype)
