"""The budget chosen at warm-up, on simulated devices whose best budget is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.batching.tuning import TOLERANCE, tune
from embedder.core.errors import BackendFailure
from embedder.core.types import TokenBatch
from tests.unit.batching.simulated_device import UNLIMITED_S, SimulatedDevice

DEVICES = st.builds(
    SimulatedDevice,
    overhead_s=st.floats(1e-4, 1),
    tokens_per_s=st.floats(1e3, 1e7),
    cache_tokens=st.integers(100, 50_000),
    cliff=st.floats(1, 4),
)
BOUNDS = st.tuples(st.integers(1, 1000), st.integers(0, 50_000)).map(
    lambda drawn: (drawn[0], drawn[0] + drawn[1])
)


@given(DEVICES, BOUNDS, st.lists(st.floats(0, 0.2), min_size=1, max_size=20))
def test_the_budget_is_close_to_the_best_within_the_noise(
    device: SimulatedDevice, bounds: tuple[int, int], noise: list[float]
) -> None:
    device = replace(device, noise=noise)
    low, high = bounds
    tuning = device.tune(low, high)

    def rate(tokens: int) -> float:
        return tokens / device.duration_s(tokens)

    best = max(rate(size) for size in [*device.sizes, high])
    assert low <= tuning.max_tokens <= high
    assert rate(tuning.max_tokens) >= TOLERANCE * best / (1 + max(noise)) * (1 - 1e-9)


@given(DEVICES, BOUNDS)
def test_without_noise_no_smaller_size_is_close_enough(
    device: SimulatedDevice, bounds: tuple[int, int]
) -> None:
    tuning = device.tune(*bounds)

    rates = {size: size / device.duration_s(size) for size in device.sizes}
    smaller = [rate for size, rate in rates.items() if size < tuning.max_tokens]
    assert all(rate < TOLERANCE * max(rates.values()) * (1 + 1e-9) for rate in smaller)


def test_sizes_double_up_to_and_including_the_upper_bound() -> None:
    tuning = SimulatedDevice().tune(300, 2000)

    assert [point.tokens for point in tuning.curve] == [300, 600, 1200, 2000]


@given(st.integers(0, 21), st.integers(1, 7))
def test_a_few_disturbed_runs_in_a_row_change_nothing(first: int, count: int) -> None:
    """Seven sizes make 22 runs; the two runs of a size are at least seven runs apart."""
    device = SimulatedDevice(
        noise=[9.0 if first <= run < first + count else 0.0 for run in range(22)]
    )
    tuning = device.tune()

    assert len(device.batches) == 22
    assert [point.seconds for point in tuning.curve] == pytest.approx(
        [device.duration_s(point.tokens) for point in tuning.curve]
    )


def test_the_loading_time_of_the_first_batch_does_not_count() -> None:
    device = SimulatedDevice(loading_s=30.0)
    tuning = device.tune(low=256, high=1024)

    assert device.sizes == [256, 256, 256, 512, 512, 1024, 1024, 256, 512, 1024]
    assert [point.seconds for point in tuning.curve] == pytest.approx(
        [device.duration_s(size) for size in (256, 512, 1024)]
    )


@given(st.integers(1, 3000), st.integers(1, 512))
def test_a_measured_batch_has_the_stated_tokens_in_inputs_of_similar_length(
    tokens: int, longest: int
) -> None:
    device = SimulatedDevice()
    device.tune(tokens, tokens, longest=longest)

    for batch in device.batches:
        assert batch.ids.dtype == batch.lengths.dtype == np.int32
        assert len(batch.ids) == batch.lengths.sum() == tokens
        assert 1 <= batch.lengths.min() <= batch.lengths.max() <= longest
        assert batch.lengths.max() - batch.lengths.min() <= 1
        assert (len(batch) - 1) * longest < tokens


@given(st.floats(1e-4, 1), st.floats(1e2, 1e7), st.floats(1, 4), st.floats(0.01, 20))
def test_measuring_ends_in_time_on_any_device(
    overhead_s: float, tokens_per_s: float, cliff: float, seconds: float
) -> None:
    """After the first batch, only an unforeseen cliff may exceed the time."""
    device = SimulatedDevice(overhead_s, tokens_per_s, cache_tokens=2000, cliff=cliff)
    tuning = device.tune(seconds=seconds)

    assert device.now <= max(cliff * seconds, device.duration_s(256)) * (1 + 1e-9)
    assert tuning.max_tokens in {256, *(point.tokens for point in tuning.curve)}


@pytest.mark.parametrize(("seconds", "expected"), [(2.1, [100, 200]), (2.3, [100, 200, 400])])
def test_a_size_is_measured_if_time_is_left(seconds: float, expected: list[int]) -> None:
    """One batch of 100 tokens, then three of each size, take 0.1, 0.3, 0.6 and 1.2 seconds."""
    tuning = SimulatedDevice(overhead_s=0, tokens_per_s=1000).tune(low=100, seconds=seconds)

    assert [point.tokens for point in tuning.curve] == expected


def test_the_second_round_is_skipped_if_no_time_is_left() -> None:
    """The last run of the first round takes ten times its estimate."""
    device = SimulatedDevice(overhead_s=0, tokens_per_s=1000, noise=(0.0,) * 6 + (9.0,))
    tuning = device.tune(low=100, high=400, seconds=2.3)

    assert device.sizes == [100, 100, 100, 200, 200, 400, 400]
    assert [point.seconds for point in tuning.curve] == pytest.approx([0.1, 0.2, 4.0])


def test_a_model_too_slow_to_measure_gets_the_lower_bound() -> None:
    device = SimulatedDevice(tokens_per_s=10)
    tuning = device.tune(seconds=60)

    assert device.sizes == [256]
    assert tuning.max_tokens == 256
    assert tuning.reason == "the measuring time ended before 256 tokens"


def test_a_model_that_runs_out_of_time_gets_the_largest_measured_size() -> None:
    device = SimulatedDevice(overhead_s=1.0, tokens_per_s=10_000)
    tuning = device.tune(seconds=20)

    assert tuning.max_tokens == tuning.curve[-1].tokens < 16_384
    assert tuning.reason == (f"the measuring time ended before {2 * tuning.max_tokens:,} tokens")


@given(DEVICES, BOUNDS, st.integers(1, 60_000))
def test_the_budget_never_exceeds_memory(
    device: SimulatedDevice, bounds: tuple[int, int], capacity: int
) -> None:
    device = SimulatedDevice(device.overhead_s, device.tokens_per_s, capacity=capacity)
    tuning = device.tune(*bounds)

    assert tuning.max_tokens <= capacity
    assert all(point.tokens <= capacity for point in tuning.curve)
    if bounds[0] <= capacity:
        assert sum(size > capacity for size in device.sizes) <= 1, (
            "it measured sizes after memory ran out"
        )


def test_sizes_that_no_longer_fit_in_the_second_round_are_removed() -> None:
    device = SimulatedDevice(overhead_s=10.0)

    def run(batch: TokenBatch) -> None:
        device.run(batch)
        if device.sizes[-2:] == [4096, 4096]:
            device.capacity = 1024

    tuning = tune(
        run,
        (512, 4096),
        longest=64,
        seconds=UNLIMITED_S,
        fits=lambda _: True,
        clock=lambda: device.now,
    )

    assert [point.tokens for point in tuning.curve] == [512, 1024]
    assert tuning.max_tokens == 1024
    assert tuning.reason == "a batch of 2,048 tokens does not fit into memory"


@given(DEVICES, BOUNDS, st.integers(1, 60_000))
def test_a_batch_known_not_to_fit_is_never_run(
    device: SimulatedDevice, bounds: tuple[int, int], free: int
) -> None:
    tuning = device.tune(*bounds, free=free)

    assert max(device.sizes) <= free
    assert tuning.max_tokens <= free


@pytest.mark.parametrize("free", [0, 10**9])
def test_without_memory_for_any_batch_the_budget_is_one_token(free: int) -> None:
    tuning = SimulatedDevice(capacity=0).tune(free=free)

    assert tuning.max_tokens == 1
    assert tuning.curve == ()


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        (SimulatedDevice(overhead_s=10.0), "16,384 tokens is the upper bound"),
        (
            SimulatedDevice(overhead_s=10.0, capacity=5000),
            "a batch of 8,192 tokens does not fit into memory",
        ),
        (
            SimulatedDevice(overhead_s=10.0, capacity=100),
            "a batch of 128 tokens does not fit into memory",
        ),
        (
            SimulatedDevice(overhead_s=0.001, cache_tokens=3000, cliff=2.0),
            "throughput gains little or nothing beyond 1,024 tokens",
        ),
        (
            SimulatedDevice(overhead_s=0.001, capacity=5000),
            "throughput gains little or nothing beyond 1,024 tokens",
        ),
    ],
    ids=["bound", "memory", "less than the bound", "curve", "curve before memory"],
)
def test_the_reason_says_why_the_budget_is_not_larger(device: SimulatedDevice, reason: str) -> None:
    assert device.tune().reason == reason


def test_other_failures_of_the_model_are_raised() -> None:
    def run(batch: TokenBatch) -> None:
        raise BackendFailure("broken")

    with pytest.raises(BackendFailure):
        tune(run, (1, 8), longest=8, seconds=1, fits=lambda tokens: True)


def test_a_real_clock_gives_positive_durations() -> None:
    tuning = tune(
        lambda batch: np.sort(batch.ids), (64, 256), longest=64, seconds=5, fits=lambda tokens: True
    )

    assert [point.tokens for point in tuning.curve] == [64, 128, 256]
    assert all(point.seconds > 0 for point in tuning.curve)


@pytest.mark.parametrize("bounds", [(0, 5), (-1, 5), (6, 5)])
def test_bounds_out_of_order_or_below_one_are_refused(bounds: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"between {bounds[0]} and {bounds[1]}"):
        SimulatedDevice().tune(*bounds)
