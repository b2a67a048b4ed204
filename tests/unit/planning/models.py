"""A model and machines in round numbers, and strategies that draw models, machines and goals."""

from __future__ import annotations

from hypothesis import strategies as st

from embedder.models.model_size import ModelShape, ModelSize
from embedder.planning.goal import Goal
from embedder.planning.machine import MeasuredMachine, Speed
from embedder.planning.prediction import PlannedModel

GIB = 2**30

MODEL = PlannedModel(
    ModelSize(
        shape=ModelShape(layers=6, heads=12, width=384, inner=1536),
        parameters=22_000_000,
        matrix_parameters=10_000_000,
        head_parameters=0,
        file_bytes=88_000_000,
        tokenizer_bytes=500_000,
        tokenizer_kind="WordPiece",
    ),
    "packed",
    256,
)


def machine(*speeds: tuple[str, int, float], free_bytes: int = 16 * GIB) -> MeasuredMachine:
    """Return a CPU of two cores with the speeds (format, threads, GFLOP/s)."""
    measured = tuple(Speed(dtype, threads, rate * 1e9, 2e-10) for dtype, threads, rate in speeds)
    return MeasuredMachine("cpu", 2, free_bytes, measured)


USUAL = machine(("float32", 1, 80), ("float32", 2, 150), ("bfloat16", 1, 200), ("bfloat16", 2, 380))
"""A machine on which bfloat16 with two threads is fastest."""

models = st.builds(
    lambda layers, width, tables, longest: PlannedModel(
        ModelSize(
            shape=ModelShape(layers=layers, heads=4, width=width, inner=4 * width),
            parameters=12 * layers * width**2 + tables,
            matrix_parameters=12 * layers * width**2,
            head_parameters=0,
            file_bytes=4 * (12 * layers * width**2 + tables),
        ),
        "packed",
        longest,
    ),
    layers=st.integers(1, 48),
    width=st.integers(32, 4096),
    tables=st.integers(10**5, 10**9),
    longest=st.integers(16, 8192),
)
speeds = st.builds(
    Speed,
    dtype=st.sampled_from(["float32", "bfloat16"]),
    threads=st.integers(1, 64),
    row_flops_per_s=st.floats(1e8, 1e14),
    matrix_s_per_parameter=st.floats(0, 1e-8),
)
machines = st.builds(
    MeasuredMachine,
    device=st.sampled_from(["cpu", "cuda:0"]),
    cores=st.integers(1, 64),
    free_bytes=st.integers(0, 64 * GIB),
    speeds=st.lists(
        speeds, min_size=1, max_size=5, unique_by=lambda one: (one.dtype, one.threads)
    ).map(tuple),
)
goals = st.builds(
    Goal,
    max_memory_gb=st.none() | st.floats(0.01, 64),
    target_latency_ms=st.none() | st.floats(0.01, 1e5),
    min_texts_per_s=st.none() | st.floats(0.01, 1e6),
    tokens_per_text=st.integers(1, 4096),
)
