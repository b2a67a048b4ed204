"""Speeds follow from two products, and measuring restores the number of threads."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from embedder.backends.precision import has_fast_bfloat16
from embedder.core.errors import ConfigurationError
from embedder.models.model_size import ModelShape
from embedder.planning.machine import FEW, MANY, Speed, fastest, measure

SHAPE = ModelShape(layers=1, heads=2, width=64, inner=256)


@given(row_s=st.floats(1e-14, 1e-9), share=st.floats(0, 100))
def test_a_speed_follows_from_products_of_few_and_many_rows(row_s: float, share: float) -> None:
    matrix_s = share * row_s

    speed = Speed.of("float32", 2, matrix_s + FEW * row_s, matrix_s + MANY * row_s)

    assert speed.row_flops_per_s == pytest.approx(2 / row_s)
    assert speed.matrix_s_per_parameter == pytest.approx(matrix_s, abs=1e-9 * row_s)


@pytest.mark.parametrize("few_s", [0.3, 0.999, 1.0, 5.0, 0.001, 0.0])
def test_noise_in_the_small_product_hardly_changes_the_time_of_the_large_one(few_s: float) -> None:
    speed = Speed.of("float32", 1, few_s, 1.0)

    many_s = speed.matrix_s_per_parameter + MANY * 2 / speed.row_flops_per_s
    assert many_s == pytest.approx(1.0, rel=0.02)
    assert speed.row_flops_per_s == pytest.approx(2 * MANY, rel=0.35)


class _Work:
    """Runs of given durations, on a simulated clock."""

    def __init__(self, *durations: float) -> None:
        self.now = 0.0
        self.left = list(durations)

    def run(self) -> None:
        self.now += self.left.pop(0)


@pytest.mark.parametrize(("seconds", "expected", "unused"), [(6.5, 1.0, 1), (0.0, 3.0, 3)])
def test_the_shortest_run_counts_and_the_first_is_a_warm_up(
    seconds: float, expected: float, unused: int
) -> None:
    work = _Work(0.5, 3.0, 1.0, 4.0, 0.1)

    assert fastest(work.run, seconds, lambda: work.now) == expected
    assert len(work.left) == unused


def test_this_machine_is_measured_and_its_threads_are_restored() -> None:
    before = torch.get_num_threads()

    machine = measure(SHAPE, device="cpu", seconds=0.02)

    assert torch.get_num_threads() == before
    assert machine.device == "cpu"
    assert machine.free_bytes > 0
    dtypes = {"float32"} | ({"bfloat16"} if has_fast_bfloat16(torch.device("cpu")) else set())
    assert {(speed.dtype, speed.threads) for speed in machine.speeds} == {
        (dtype, threads) for dtype in dtypes for threads in {1, machine.cores}
    }
    assert all(speed.row_flops_per_s > 0 for speed in machine.speeds)


def test_only_requested_formats_and_threads_are_measured() -> None:
    machine = measure(SHAPE, device="cpu", dtypes=("float16",), threads=(1,), seconds=0.001)

    assert [(speed.dtype, speed.threads) for speed in machine.speeds] == [("float16", 1)]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_device_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"backend\.device is 'cuda'"):
        measure(SHAPE, device="cuda", seconds=0.001)
