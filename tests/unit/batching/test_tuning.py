"""The budget found at warm-up, against synthetic machines whose best budget is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.batching.tuning import TOLERANCE, tune
from embedder.core.errors import BackendFailure
from embedder.core.types import TokenBatch
from tests.unit.batching.simulated_device import AGES, Machine

MACHINES = st.builds(
    Machine,
    overhead_s=st.floats(1e-4, 1),
    tokens_per_s=st.floats(1e3, 1e7),
    cache_tokens=st.integers(100, 50_000),
    cliff=st.floats(1, 4),
)
BOUNDS = st.tuples(st.integers(1, 1000), st.integers(0, 50_000)).map(
    lambda drawn: (drawn[0], drawn[0] + drawn[1])
)


@given(MACHINES, BOUNDS, st.lists(st.floats(0, 0.2), min_size=1, max_size=20))
def test_the_budget_is_as_near_to_the_best_as_noise_lets_one_tell(
    machine: Machine, bounds: tuple[int, int], noise: list[float]
) -> None:
    machine = Machine(
        machine.overhead_s,
        machine.tokens_per_s,
        machine.cache_tokens,
        machine.cliff,
        noise=noise,
    )
    low, high = bounds
    tuning = machine.tune(low, high)

    def rate(tokens: int) -> float:
        return tokens / machine.takes_s(tokens)

    best = max(rate(size) for size in [*machine.sizes, high])
    assert low <= tuning.max_tokens <= high
    assert rate(tuning.max_tokens) >= TOLERANCE * best / (1 + max(noise)) * (1 - 1e-9)


@given(MACHINES, BOUNDS)
def test_without_noise_no_smaller_size_measured_would_have_done(
    machine: Machine, bounds: tuple[int, int]
) -> None:
    tuning = machine.tune(*bounds)

    rates = {size: size / machine.takes_s(size) for size in machine.sizes}
    smaller = [rate for size, rate in rates.items() if size < tuning.max_tokens]
    assert all(rate < TOLERANCE * max(rates.values()) * (1 + 1e-9) for rate in smaller)


def test_sizes_double_up_to_the_upper_bound_which_is_measured_too() -> None:
    tuning = Machine().tune(300, 2000)

    assert [point.tokens for point in tuning.curve] == [300, 600, 1200, 2000]


@given(st.integers(0, 21), st.integers(1, 7))
def test_what_disturbs_some_runs_in_a_row_changes_nothing(first: int, count: int) -> None:
    """Seven sizes make 22 runs; the two that count of one size are seven runs apart or more."""
    machine = Machine(noise=[9.0 if first <= run < first + count else 0.0 for run in range(22)])
    tuning = machine.tune()

    assert len(machine.batches) == 22
    assert [point.seconds for point in tuning.curve] == pytest.approx(
        [machine.takes_s(point.tokens) for point in tuning.curve]
    )


def test_what_the_first_batch_loads_is_not_held_against_its_size() -> None:
    machine = Machine(loading_s=30.0)
    tuning = machine.tune(low=256, high=1024)

    assert machine.sizes == [256, 256, 256, 512, 512, 1024, 1024, 256, 512, 1024]
    assert [point.seconds for point in tuning.curve] == pytest.approx(
        [machine.takes_s(size) for size in (256, 512, 1024)]
    )


@given(st.integers(1, 3000), st.integers(1, 512))
def test_a_batch_holds_as_many_tokens_as_it_is_measured_for_in_inputs_of_like_length(
    tokens: int, longest: int
) -> None:
    machine = Machine()
    machine.tune(tokens, tokens, longest=longest)

    for batch in machine.batches:
        assert batch.ids.dtype == batch.lengths.dtype == np.int32
        assert len(batch.ids) == batch.lengths.sum() == tokens
        assert 1 <= batch.lengths.min() <= batch.lengths.max() <= longest
        assert batch.lengths.max() - batch.lengths.min() <= 1
        assert (len(batch) - 1) * longest < tokens


@given(
    st.floats(1e-4, 1),
    st.floats(1e2, 1e7),
    st.floats(1, 4),
    st.floats(0.01, 20),
)
def test_measuring_ends_in_time_however_slow_the_machine_is(
    overhead_s: float, tokens_per_s: float, cliff: float, seconds: float
) -> None:
    """The first batch is owed; after it, time is exceeded only where a cliff was not foreseen."""
    machine = Machine(overhead_s, tokens_per_s, cache_tokens=2000, cliff=cliff)
    tuning = machine.tune(seconds=seconds)

    assert machine.now <= max(cliff * seconds, machine.takes_s(256)) * (1 + 1e-9)
    assert tuning.max_tokens in {256, *(point.tokens for point in tuning.curve)}


@pytest.mark.parametrize(("seconds", "expected"), [(2.1, [100, 200]), (2.3, [100, 200, 400])])
def test_a_point_for_which_there_is_time_is_measured(seconds: float, expected: list[int]) -> None:
    """One batch of 100 tokens, then three of each size, take 0.1, 0.3, 0.6 and 1.2 seconds."""
    tuning = Machine(overhead_s=0, tokens_per_s=1000).tune(low=100, seconds=seconds)

    assert [point.tokens for point in tuning.curve] == expected


def test_a_second_round_for_which_no_time_is_left_is_left_out() -> None:
    """The last run of the first round takes ten times what was foreseen."""
    machine = Machine(overhead_s=0, tokens_per_s=1000, noise=(0.0,) * 6 + (9.0,))
    tuning = machine.tune(low=100, high=400, seconds=2.3)

    assert machine.sizes == [100, 100, 100, 200, 200, 400, 400]
    assert [point.seconds for point in tuning.curve] == pytest.approx([0.1, 0.2, 4.0])


def test_a_model_too_slow_to_be_measured_gets_the_lower_bound() -> None:
    machine = Machine(tokens_per_s=10)
    tuning = machine.tune(seconds=60)

    assert machine.sizes == [256]
    assert tuning.max_tokens == 256
    assert tuning.reason == "the time for measuring was up before 256 tokens"


def test_a_model_that_is_cut_off_by_time_gets_the_largest_size_that_was_measured() -> None:
    machine = Machine(overhead_s=1.0, tokens_per_s=10_000)
    tuning = machine.tune(seconds=20)

    assert tuning.max_tokens == tuning.curve[-1].tokens < 16_384
    assert tuning.reason == (
        f"the time for measuring was up before {2 * tuning.max_tokens:,} tokens"
    )


@given(MACHINES, BOUNDS, st.integers(1, 60_000))
def test_a_budget_that_memory_does_not_hold_is_never_returned(
    machine: Machine, bounds: tuple[int, int], capacity: int
) -> None:
    machine = Machine(machine.overhead_s, machine.tokens_per_s, capacity=capacity)
    tuning = machine.tune(*bounds)

    assert tuning.max_tokens <= capacity
    assert all(point.tokens <= capacity for point in tuning.curve)
    if bounds[0] <= capacity:
        assert sum(size > capacity for size in machine.sizes) <= 1, "it went on after the end"


def test_memory_that_goes_while_measuring_takes_the_sizes_it_held() -> None:
    machine = Machine(overhead_s=10.0)

    def run(batch: TokenBatch) -> None:
        machine.run(batch)
        if machine.sizes[-2:] == [4096, 4096]:
            machine.capacity = 1024

    tuning = tune(
        run, (512, 4096), longest=64, seconds=AGES, fits=lambda _: True, clock=lambda: machine.now
    )

    assert [point.tokens for point in tuning.curve] == [512, 1024]
    assert tuning.max_tokens == 1024
    assert tuning.reason == "memory ends below 2,048 tokens"


@given(MACHINES, BOUNDS, st.integers(1, 60_000))
def test_a_batch_that_is_known_not_to_fit_is_never_run(
    machine: Machine, bounds: tuple[int, int], free: int
) -> None:
    tuning = machine.tune(*bounds, free=free)

    assert max(machine.sizes) <= free
    assert tuning.max_tokens <= free


@pytest.mark.parametrize("free", [0, 10**9])
def test_where_memory_holds_nothing_every_input_goes_alone(free: int) -> None:
    tuning = Machine(capacity=0).tune(free=free)

    assert tuning.max_tokens == 1
    assert tuning.curve == ()


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        (Machine(overhead_s=10.0), "16,384 tokens is the upper bound"),
        (Machine(overhead_s=10.0, capacity=5000), "memory ends below 8,192 tokens"),
        (Machine(overhead_s=10.0, capacity=100), "memory ends below 128 tokens"),
        (
            Machine(overhead_s=0.001, cache_tokens=3000, cliff=2.0),
            "throughput gains little or nothing beyond 1,024 tokens",
        ),
        (
            Machine(overhead_s=0.001, capacity=5000),
            "throughput gains little or nothing beyond 1,024 tokens",
        ),
    ],
    ids=["bound", "memory", "less than the bound", "curve", "curve before memory"],
)
def test_the_reason_says_what_keeps_the_budget_from_being_larger(
    machine: Machine, reason: str
) -> None:
    assert machine.tune().reason == reason


def test_any_other_failure_of_the_model_is_not_hidden() -> None:
    def run(batch: TokenBatch) -> None:
        raise BackendFailure("broken")

    with pytest.raises(BackendFailure):
        tune(run, (1, 8), longest=8, seconds=1, fits=lambda tokens: True)


def test_a_real_clock_measures_something() -> None:
    tuning = tune(
        lambda batch: np.sort(batch.ids), (64, 256), longest=64, seconds=5, fits=lambda tokens: True
    )

    assert [point.tokens for point in tuning.curve] == [64, 128, 256]
    assert all(point.seconds > 0 for point in tuning.curve)


@pytest.mark.parametrize("bounds", [(0, 5), (-1, 5), (6, 5)])
def test_bounds_are_in_order_and_leave_room_for_a_token(bounds: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"between {bounds[0]} and {bounds[1]}"):
        Machine().tune(*bounds)
