"""What this machine can do at most for a model: torch's own products of the model's matrices.

The ceiling is torch's linear in the number format that the encoder computes in, on the shapes of
all linear layers, and nothing else. Attention is left out of both, as it is of every count here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as functional

ROWS = 2048
"""Tokens that go through the layers together: a batch of the service on a CPU."""


def shapes(config: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Return how many components leave and enter each matrix of a layer."""
    width, inner = int(config["hidden_size"]), int(config["intermediate_size"])
    return [(3 * width, width), (width, width), (inner, width), (width, inner)]


def operations_a_token(config: Mapping[str, Any]) -> int:
    """Return the operations of one token in all linear layers."""
    layer = sum(rows * columns for rows, columns in shapes(config))
    return 2 * layer * int(config["num_hidden_layers"])


def products(config: Mapping[str, Any], dtype: torch.dtype) -> Callable[[], object]:
    """Return a function that computes all linear layers once and nothing else."""
    layers = [
        (torch.rand(shape).to(dtype), torch.rand(ROWS, shape[1]).to(dtype))
        for _ in range(int(config["num_hidden_layers"]))
        for shape in shapes(config)
    ]

    @torch.inference_mode()
    def compute() -> None:
        for weight, rows in layers:
            functional.linear(rows, weight)

    return compute


def gflops(work: Callable[[], object], config: Mapping[str, Any]) -> float:
    """Return the billions of operations a second of `products`, by one pass."""
    began = time.perf_counter()
    work()
    return ROWS * operations_a_token(config) / (time.perf_counter() - began) / 1e9
