"""The headers of an answer give its time by stage."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.bench.stages import REST, STAGES, WIRE, breakdown, durations, mean
from deployments.ingress.wire.formats import timing_headers
from embedder.core.request import Embeddings
from embedder.core.types import Timings

HEADERS = {
    "server-timing": "queue;dur=1.25, tokenization;dur=0.50, inference;dur=4.25",
    "x-total-time": "8",
}


def test_the_parts_add_up_to_the_latency() -> None:
    parts = breakdown(HEADERS, 10.5)

    assert parts == {"tokenization": 0.5, "queue": 1.25, "inference": 4.25, REST: 2.0, WIRE: 2.5}
    assert sum(parts.values()) == 10.5


def test_a_total_that_was_rounded_below_its_parts_gives_no_negative_time() -> None:
    parts = breakdown(HEADERS | {"x-total-time": "5"}, 5.5)

    assert parts is not None
    assert parts[REST] == parts[WIRE] == 0.0


@pytest.mark.parametrize("missing", HEADERS)
def test_an_answer_without_a_header_has_no_stages(missing: str) -> None:
    stated = {name: value for name, value in HEADERS.items() if name != missing}

    assert breakdown(stated, 10.0) is None
    assert breakdown(stated | {missing: ""}, 10.0) is None


def test_the_headers_of_the_service_are_read() -> None:
    answer = Embeddings(
        np.zeros((1, 2), np.float32), np.ones(1, np.int32), np.zeros(1, np.bool_), 0, "model",
        timings=Timings(tokenization_s=0.001, queue_s=0.002, inference_s=0.003),
    )  # fmt: skip

    stated = durations(dict(timing_headers(answer))[b"server-timing"].decode())

    assert stated == {"tokenization": 1.0, "queue": 2.0, "inference": 3.0}
    assert set(stated) == set(STAGES)


def test_a_mean_is_over_the_answers_with_stages() -> None:
    assert mean([None, {"a": 1.0}, {"a": 3.0}]) == {"a": 2.0}
    assert mean([None]) is None
