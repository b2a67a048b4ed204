"""Evictions follow the rules, compared with an exhaustive search."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.core.errors import InvalidInput
from embedder.inference.residency import LoadState, NoRoom, Residency


@dataclass(frozen=True)
class Kept:
    """One ready model."""

    bytes: int
    pinned: bool
    in_use: bool

    @property
    def evictable(self) -> bool:
        return not self.pinned and not self.in_use


KEPT = st.lists(
    st.builds(
        Kept,
        st.integers(0, 5),
        st.sampled_from([False, False, True]),
        st.sampled_from([False, True]),
    ),
    max_size=6,
)


def ready(residency: Residency[str], key: str, size: int = 1, now: float = 0.0) -> None:
    """Take a model through all states until it is ready."""
    residency.enqueue(key, size, now)
    residency.start_loading(key, now)
    residency.finish_loading(key, size, now)


def filled(kept: list[Kept], max_bytes: int) -> Residency[int]:
    """Return models by number, the least recently used first."""
    residency: Residency[int] = Residency(max_bytes)
    for number, model in enumerate(kept):
        residency.enqueue(number, model.bytes, 0)
        residency.start_loading(number, 0)
        residency.finish_loading(number, model.bytes, 0)
        if model.in_use:
            residency.acquire(number)
        if model.pinned:
            residency.pin(number)
    return residency


@given(kept=KEPT, needed=st.integers(0, 12), spare=st.integers(0, 3))
def test_the_fewest_least_recently_used_models_are_evicted(
    kept: list[Kept], needed: int, spare: int
) -> None:
    max_bytes = sum(model.bytes for model in kept) + spare
    residency = filled(kept, max_bytes)
    loose = [number for number, model in enumerate(kept) if model.evictable]
    runs = [loose[:count] for count in range(len(loose) + 1)]
    enough = [run for run in runs if needed <= spare + sum(kept[number].bytes for number in run)]

    room = residency.choose_evictions(99, needed)

    if enough:
        assert room == enough[0]
    else:
        assert isinstance(room, NoRoom)
    assert len(residency.states(0)) == len(kept), "nothing goes by itself"


@given(kept=KEPT, needed=st.integers(0, 40))
def test_missing_room_is_explained_and_permanent_only_for_pins(
    kept: list[Kept], needed: int
) -> None:
    max_bytes = sum(model.bytes for model in kept)
    pinned = {number: model.bytes for number, model in enumerate(kept) if model.pinned}

    room = filled(kept, max_bytes).choose_evictions(99, needed)

    if isinstance(room, NoRoom):
        assert (room.needed_bytes, room.max_bytes) == (needed, max_bytes)
        assert room.pinned_bytes == sum(pinned.values())
        assert room.permanent == (needed + sum(pinned.values()) > max_bytes)


@given(kept=KEPT, ages=st.lists(st.integers(0, 5), min_size=6, max_size=6))
def test_idle_models_are_evictable_and_unused_for_the_given_time(
    kept: list[Kept], ages: list[int]
) -> None:
    residency = filled(kept, 100)
    oldest_first = sorted(range(len(kept)), key=lambda number: -ages[number])
    for number in oldest_first:
        residency.acquire(number)
        residency.release(number, 10 - ages[number])

    assert residency.idle_keys(10, 3) == [
        number for number in oldest_first if kept[number].evictable and ages[number] >= 3
    ]


def test_a_later_release_counts_even_within_one_tick_of_the_clock() -> None:
    residency: Residency[str] = Residency(2)
    ready(residency, "a")
    ready(residency, "b")
    residency.acquire("a")
    residency.release("a", 0.0)

    assert residency.choose_evictions("c", 1) == ["b"]


def test_a_model_is_unused_after_its_last_release() -> None:
    residency: Residency[str] = Residency(1)
    ready(residency, "a")
    residency.acquire("a")
    residency.acquire("a")

    assert [residency.release("a", 0.0), residency.release("a", 0.0)] == [False, True]


def test_a_loaded_model_replaces_its_own_reservation() -> None:
    residency: Residency[str] = Residency(4)
    ready(residency, "a", 1)
    residency.enqueue("b", 2, 0.0)
    residency.start_loading("b", 0.0)

    assert residency.choose_evictions("b", 3) == []
    assert residency.choose_evictions("b", 4) == ["a"]
    assert isinstance(residency.choose_evictions("b", 5), NoRoom)


def test_a_loading_model_leaves_no_room_temporarily() -> None:
    residency: Residency[str] = Residency(2)
    residency.enqueue("a", 2, 0.0)
    residency.start_loading("a", 0.0)
    room = residency.choose_evictions("b", 1)

    assert isinstance(room, NoRoom)
    assert not room.permanent


def test_only_waiting_models_can_be_impossible() -> None:
    residency: Residency[str] = Residency(2)
    residency.enqueue("large", 3, 0.0)
    residency.enqueue("small", 1, 0.0)
    residency.enqueue("broken", 3, 0.0)
    residency.fail("broken", ValueError("no"), 0.0)

    assert [key for key, _ in residency.impossible()] == ["large"]


def test_without_a_limit_there_is_always_room() -> None:
    residency: Residency[str] = Residency(None)
    ready(residency, "a", 10**15)
    residency.enqueue("b", 10**15, 0.0)

    assert residency.choose_evictions("b") == []
    assert residency.impossible() == []


def test_a_cancelled_model_returns_to_its_earlier_state() -> None:
    residency: Residency[str] = Residency(None)
    residency.enqueue("new", 1, 0.0)
    residency.enqueue("failed", 1, 0.0)
    residency.fail("failed", ValueError("no"), 0.0)
    residency.enqueue("failed", 1, 0.0)
    for key in ("new", "failed"):
        residency.cancel(key)

    assert residency.state("new") is None
    assert [(s.state, s.bytes, s.error) for s in residency.states(0.0)] == [
        (LoadState.FAILED, 0, "ValueError: no")
    ]


def test_times_are_counted_from_the_start_of_each_state() -> None:
    residency: Residency[str] = Residency(None)
    told = []
    residency.enqueue("a", 5, now=10)
    told.append(residency.states(11)[0])
    residency.start_loading("a", now=12)
    told.append(residency.states(15)[0])
    residency.finish_loading("a", 4, now=20)
    residency.acquire("a")
    told.append(residency.states(25)[0])
    residency.release("a", now=30)
    told.append(residency.states(33)[0])

    assert [(s.state.value, s.bytes, s.loading_s, s.load_s, s.idle_s) for s in told] == [
        ("waiting", 5, 1, None, None),
        ("loading", 5, 3, None, None),
        ("ready", 4, None, 8, 0),
        ("ready", 4, None, 8, 3),
    ]


def test_pins_are_counted() -> None:
    residency: Residency[str] = Residency(1)
    ready(residency, "a")
    residency.pin("a")
    residency.pin("a")
    residency.unpin("a")
    with_one_left = residency.choose_evictions("b", 1)
    residency.unpin("a")

    assert isinstance(with_one_left, NoRoom)
    assert residency.choose_evictions("b", 1) == ["a"]


@pytest.mark.parametrize("key", ["a", "nowhere"])
def test_an_unpinned_model_cannot_be_unpinned(key: str) -> None:
    residency: Residency[str] = Residency(1)
    ready(residency, "a")

    with pytest.raises(InvalidInput, match=f"'{key}', which is not pinned"):
        residency.unpin(key)
