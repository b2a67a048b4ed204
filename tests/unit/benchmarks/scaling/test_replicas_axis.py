"""Each point is a service of its own, whose configuration has so many encoders and no other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from benchmarks.scaling.replicas_axis import TEXTS_A_REQUEST, by_replicas, encoders
from deployments.settings.service import ServeSettings
from tests.unit.benchmarks.scaling.clients import FakeClient, asker_of
from tests.unit.benchmarks.scaling.outcomes import ignored, quick


def test_two_replicas_for_each_core_leave_half_of_the_cores() -> None:
    cores = 2
    encoder = ServeSettings.model_validate(encoders(2 * cores)).encoder

    assert encoder.num_cpus * 2 * cores <= cores / 2


@pytest.mark.parametrize(("fast", "most"), [(True, 2), (False, 4)])
def test_each_point_is_a_service_of_its_own(fast: bool, most: int) -> None:
    running: list[int] = []
    started: list[int] = []

    @contextmanager
    def serve(count: int) -> Iterator[str]:
        assert not running
        running.append(count)
        started.append(count)
        yield f"http://{count}"
        running.pop()

    client = FakeClient()
    options = replace(quick(), quick=fast, rounds=1)
    found = by_replicas(asker_of(client), serve, 2, options, ignored)

    assert started == list(range(1, most + 1))
    assert not running
    assert [point.x for point in found.points] == started
    loads = [(load["url"], load["clients"], load["size"], load["seconds"]) for load in client.loads]
    assert loads[:2] == [
        ("http://1", 4, TEXTS_A_REQUEST, options.warm_up_s),
        ("http://1", 4, TEXTS_A_REQUEST, options.seconds),
    ]
    assert loads[-1][:2] == (f"http://{most}", 2 * most + 2)
