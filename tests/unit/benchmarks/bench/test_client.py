"""The load generator sends a load, and returns its figures."""

from __future__ import annotations

import orjson
import pytest

from benchmarks.bench.client import Load, bodies, run
from tests.unit.benchmarks.bench.virtual_service import PATH, VirtualService

URL = "http://here"


def test_every_body_has_size_texts_and_the_rest_is_left_out() -> None:
    load = Load(URL, PATH, ["a", "b", "c", "d", "e"], size=2, encoding="float")

    sent = [orjson.loads(body) for body in bodies(load)]

    assert [body["input"] for body in sent] == [["a", "b"], ["c", "d"]]
    assert {body["encoding_format"] for body in sent} == {"float"}


@pytest.mark.parametrize("service", [{"answer_s": 0.25}], indirect=True)
async def test_a_rate_counts_texts_and_sent_counts_requests(
    service: VirtualService,
) -> None:
    texts = [str(number) for number in range(12)]
    figures, sent = await run(Load(URL, PATH, texts, size=3, clients=2, seconds=30.0))

    assert sent == 4
    assert sorted(service.texts) == sorted(texts)
    assert figures.statuses == {"200": 4}
    assert figures.per_s == pytest.approx(12 / 0.5)
    assert figures.stages_ms is not None
    assert figures.stages_ms["inference"] == 2.0


@pytest.mark.parametrize("service", [{"answer_s": 0.0625}], indirect=True)
async def test_again_sends_the_same_requests_in_a_circle(
    service: VirtualService,
) -> None:
    _, sent = await run(Load(URL, PATH, ["a", "b"], seconds=0.25, again=True))

    assert service.texts == ["a", "b", "a", "b"]
    assert sent == 4


async def test_an_open_loop_has_its_offered_rate(service: VirtualService) -> None:
    figures, sent = await run(Load(URL, PATH, list("abcd"), due=[0.0, 0.05, 0.1, 0.2]))

    assert figures.offered_per_s == 4 / 0.2
    assert figures.client_late_p99_ms is not None
    assert sent == len(service.asked) == 4
