"""New texts were never sent before, and known texts have their share."""

from __future__ import annotations

import pytest

from benchmarks.bench.lines import NotMeasured
from tests.unit.benchmarks.scaling.clients import POOL, FakeClient, asker_of

URL = "http://here"


def test_new_texts_go_on_after_those_that_were_sent() -> None:
    client = FakeClient(sent=6)
    asking = asker_of(client)

    rate = asking.new(URL, clients=3, size=2, seconds=1.0)
    asking.new(URL, clients=3, size=2, seconds=1.0)

    assert rate == 30.0
    first, second = (load["texts"] for load in client.loads)
    assert second[0] == first[6 * 2]
    assert not set(first) & set(POOL), "those are the known ones"
    assert len(set(first)) == len(first)
    assert (client.loads[0]["clients"], client.loads[0]["size"]) == (3, 2)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 1.0])
def test_known_texts_have_their_share(share: float) -> None:
    client = FakeClient()

    asker_of(client).mixed(URL, share, clients=32, seconds=1.0)

    texts = client.loads[0]["texts"]
    known = sum(text in POOL for text in texts) / len(texts)
    assert known == pytest.approx(share, abs=0.03)
    assert known == share or 0 < share < 1
    new = [text for text in texts if text not in POOL]
    assert len(set(new)) == len(new)


def test_no_new_text_of_a_mix_is_sent_again() -> None:
    client = FakeClient(sent=100)
    asking = asker_of(client)

    asking.mixed(URL, 0.5, clients=32, seconds=1.0)
    asking.mixed(URL, 0.5, clients=32, seconds=1.0)

    before, after = (load["texts"] for load in client.loads)
    sent = {text for text in before[:100] if text not in POOL}
    assert len(sent) > 20
    assert not sent & set(after)
    assert before[100:] != after, "texts that were only offered may come again"


def test_every_known_text_is_sent_once() -> None:
    client = FakeClient()

    asker_of(client).make_known(URL)

    assert client.loads[0]["texts"] == POOL


@pytest.mark.parametrize("statuses", [{}, {"429": 1}, {"200": 9, "503": 1}, {"200": 9, "0": 1}])
def test_a_rate_with_failures_is_none(statuses: dict[str, int]) -> None:
    asking = asker_of(FakeClient(statuses=statuses))

    with pytest.raises(NotMeasured, match="answered"):
        asking.new(URL, clients=1, size=1, seconds=1.0)


def test_refused_requests_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    asking = asker_of(FakeClient(statuses={"200": 90, "429": 7}))

    assert asking.new(URL, clients=3, size=1, seconds=1.0) == 30.0
    assert len(caplog.records) == 1
