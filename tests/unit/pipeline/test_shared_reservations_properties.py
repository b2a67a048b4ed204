"""Random refusals, returns and messages at several ingresses: all end with the same queue."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.pipeline.reservations import Reservations
from tests.unit.examples import TIMES
from tests.unit.pipeline.test_reservations import RATE

INGRESSES = 3

Refusal = tuple[int, int]
"""The ingress that refuses, and the units of the request."""

refusals = st.lists(
    st.tuples(st.integers(0, INGRESSES - 1), st.integers(1, 500)), min_size=1, max_size=40
)


def started() -> list[Reservations]:
    """Return the reservations of all ingresses, which record their changes."""
    made = [Reservations() for _ in range(INGRESSES)]
    for one in made:
        one.share(lambda: None)
    return made


def exchange(ingresses: list[Reservations], now: float) -> None:
    """Send the changes of each ingress to all others."""
    for sender in ingresses:
        changes = sender.take_changes(now)
        for other in ingresses:
            if other is not sender:
                other.receive(changes, now)


@settings(max_examples=50 * TIMES, deadline=None)
@given(refused=refusals, data=st.data())
def test_all_ingresses_have_the_same_queue_after_an_exchange(
    refused: list[Refusal], data: st.DataObject
) -> None:
    ingresses, outstanding = started(), dict[bytes, int]()
    for number, (at, units) in enumerate(refused):
        token = str(number).encode()
        made = ingresses[at].add(token, units, units_per_s=RATE, after_s=0.0, now=0.0)
        assert made is not None
        outstanding[token] = units
        if data.draw(st.booleans(), label="message"):
            exchange(ingresses, 0.0)
    exchange(ingresses, 0.0)
    for token in data.draw(st.lists(st.sampled_from(sorted(outstanding)), unique=True)):
        ingresses[data.draw(st.integers(0, INGRESSES - 1), label="returns to")].claim(token)
        del outstanding[token]
    exchange(ingresses, 0.5)

    for one in ingresses:
        assert one.units(0.5) == sum(outstanding.values())
        assert one.count == len(outstanding)
        assert {token for token in outstanding if one.find(token, 0.5)} == set(outstanding)
        assert sum(one._due.values()) == sum(outstanding.values())


@settings(max_examples=50 * TIMES, deadline=None)
@given(refused=refusals)
def test_the_next_refusal_states_the_time_of_all_work_refused_anywhere(
    refused: list[Refusal],
) -> None:
    ingresses = started()
    for number, (at, units) in enumerate(refused):
        ingresses[at].add(b"%d" % number, units, units_per_s=RATE, after_s=0.0, now=0.0)
    exchange(ingresses, 0.0)
    total_s = sum(units for _, units in refused) / RATE

    for one in ingresses:
        made = one.add(b"next", 1, units_per_s=RATE, after_s=0.0, now=0.0)
        assert made is not None
        assert made.ready_s == pytest.approx(total_s)
