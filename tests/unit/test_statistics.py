"""Statistics of a generator: correct counts in an immutable copy."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from embedder import EmbeddingGenerator
from embedder.batching.tuning import Measurement, Tuning
from embedder.core.errors import BackendFailure
from embedder.settings.model import BatchSettings
from tests.unit.fake_device import INFO, POISON, Device, ids, make_generator, word
from tests.unit.waiting import LONG_S, eventually

WORDS = [word(number) for number in range(100)]
TOKENS = sum(len(ids(text)) for text in WORDS)
Make = Callable[..., EmbeddingGenerator]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Return a function that makes generators, which are closed at the end."""
    made: list[EmbeddingGenerator] = []

    def make_one(device: Device, **chosen: object) -> EmbeddingGenerator:
        made.append(make_generator(monkeypatch, tmp_path, device, **chosen))  # type: ignore[arg-type]
        return made[-1]

    yield make_one
    for generator in made:
        generator.close()


def test_a_new_generator_has_no_counts(make: Make) -> None:
    generator = make(Device())
    stats = generator.stats()

    assert stats.model == generator.model
    assert (stats.batching.batches, stats.batching.items, stats.batching.tokens) == (0, 0, 0)
    assert stats.tokens_per_s == 0
    assert stats.waiting == 0


def test_every_computed_text_and_token_is_counted(make: Make) -> None:
    device = Device()
    generator = make(device)
    generator.embed(WORDS)
    list(generator.embed_stream(WORDS))
    batching = generator.stats().batching

    assert (batching.items, batching.tokens) == (2 * len(WORDS), 2 * TOKENS)
    assert batching.batches == len(device.batches)
    assert batching.largest_batch_tokens == max(sum(map(len, batch)) for batch in device.batches)
    assert batching.failed == batching.out_of_memory == batching.bisections == 0


def test_hits_and_misses_of_the_cache_are_counted(make: Make) -> None:
    device = Device()
    generator = make(device, cache_bytes=2**20)
    generator.embed(WORDS)
    generator.embed([*WORDS[:30], "else", "else"])
    stats = generator.stats()

    assert (stats.cache.hits, stats.cache.misses) == (30, len(WORDS) + 1)
    assert stats.cache.entries == len(WORDS) + 1
    assert stats.batching.items == len(device.rows) == len(WORDS) + 1


def test_statistics_do_not_change_later(make: Make) -> None:
    generator = make(Device(), cache_bytes=2**20)
    generator.embed(WORDS[:50])
    stats = generator.stats()
    before = pickle.dumps(stats)
    generator.embed(WORDS)
    generator.embed(WORDS)

    assert pickle.dumps(stats) == before
    assert generator.stats().cache.hits > stats.cache.hits
    assert generator.stats().batching.items > stats.batching.items


def test_tokens_per_second_count_the_busy_time_only(make: Make) -> None:
    generator = make(Device())
    generator.embed(WORDS)
    stats = generator.stats()

    assert stats.batching.busy_s > 0
    assert stats.tokens_per_s == pytest.approx(TOKENS / stats.batching.busy_s)
    assert stats.uptime_s >= stats.batching.busy_s
    assert generator.stats().uptime_s > stats.uptime_s


def test_the_budget_is_that_of_the_model(make: Make) -> None:
    generator = make(Device(), info=replace(INFO, max_batch_tokens=40))
    generator.embed(WORDS)
    stats = generator.stats()

    assert stats.batching.budget_tokens == stats.model.max_batch_tokens == 40
    assert stats.batching.largest_batch_tokens <= 40
    assert stats.tuning is None


def test_the_measurement_of_the_budget_is_included(make: Make) -> None:
    tuning = Tuning(
        64, (Measurement(32, 0.5), Measurement(64, 0.7)), "64 tokens is the upper bound"
    )

    assert make(Device(), tuning=tuning).stats().tuning == tuning


def test_out_of_memory_is_counted_and_no_call_fails(make: Make) -> None:
    generator = make(Device(capacity=30))
    vectors = generator.embed(WORDS)
    batching = generator.stats().batching

    assert vectors.shape == (len(WORDS), 4)
    assert batching.out_of_memory >= 1
    assert batching.budget_tokens <= 32
    assert batching.largest_batch_tokens <= 30
    assert batching.items == len(WORDS)


def test_failures_are_counted(make: Make) -> None:
    generator = make(Device())
    with pytest.raises(BackendFailure):
        generator.embed([*WORDS[:4], POISON])
    batching = generator.stats().batching

    assert batching.failed >= 1
    assert batching.bisections >= 1


def test_waiting_inputs_are_counted(make: Make) -> None:
    device = Device()
    generator = make(device, batching=BatchSettings(max_items=1))
    device.block()
    thread = threading.Thread(target=generator.embed, args=(WORDS[:10],))
    thread.start()
    assert device.entered.wait(LONG_S)
    waiting = generator.stats().waiting
    device.gate.set()
    thread.join(LONG_S)

    assert waiting == 9
    assert eventually(lambda: generator.stats().waiting == 0)


def test_statistics_can_be_pickled(make: Make) -> None:
    generator = make(Device())
    generator.embed(WORDS)
    stats = generator.stats()

    assert pickle.loads(pickle.dumps(stats)) == stats
