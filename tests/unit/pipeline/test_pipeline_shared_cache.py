"""The shared cache behind the local one: its hits, and its failures, which are misses."""

from __future__ import annotations

from embedder.core.errors import StageUnavailable
from tests.unit.fake_model import RAW, FakeModel, FakeSharedCache, expected, pipeline, settle


async def test_hits_of_the_shared_cache_are_not_encoded_and_fill_the_local_cache() -> None:
    model, shared_cache = FakeModel(), FakeSharedCache()
    first = await pipeline(model, shared_cache).embed(["abc", "abcdefghijk"])
    await settle()
    neighbour = pipeline(model, shared_cache)
    answer = await neighbour.embed(["abc", "abcdefghijk"])
    gets = shared_cache.gets
    again = await neighbour.embed(["abc", "abcdefghijk"])

    assert len(model.encoded) == 1
    assert answer.vectors.tobytes() == again.vectors.tobytes() == first.vectors.tobytes()
    assert answer.truncated.tolist() == [False, True]
    assert shared_cache.gets == gets
    assert again.cached == 2


async def test_hits_of_the_shared_cache_count_as_cached() -> None:
    model, shared_cache = FakeModel(), FakeSharedCache()
    await pipeline(model, shared_cache).embed(["abc"])
    await settle()

    assert (await pipeline(model, shared_cache).embed(["abc"])).cached == 1


async def test_misses_of_the_shared_cache_are_computed_beside_its_hits() -> None:
    model, shared_cache = FakeModel(), FakeSharedCache()
    await pipeline(model, shared_cache).embed(["b"])
    await settle()
    answer = await pipeline(model, shared_cache).embed(["a", "b", "c"], RAW)

    assert model.encoded == [[[98]], [[97], [99]]]
    assert answer.vectors.tolist() == expected("a", "b", "c").tolist()


async def test_a_failing_shared_cache_is_a_miss() -> None:
    model, shared_cache = FakeModel(), FakeSharedCache()
    shared_cache.error = StageUnavailable("cache", "gone")
    answer = await pipeline(model, shared_cache).embed(["a"], RAW)
    await settle()

    assert answer.vectors.tolist() == expected("a").tolist()


async def test_a_shared_cache_that_does_not_answer_is_a_miss() -> None:
    model, shared_cache = FakeModel(), FakeSharedCache()
    shared_cache.open.clear()
    answer = await pipeline(model, shared_cache).embed(["a"], RAW)

    assert answer.vectors.tolist() == expected("a").tolist()
    shared_cache.open.set()
    await settle()


async def test_no_request_waits_for_an_insert_into_the_shared_cache() -> None:
    model, shared_cache = FakeModel(), FakeSharedCache()
    embedder = pipeline(model, shared_cache)
    shared_cache.takes.clear()
    answer = await embedder.embed(["a"], RAW)
    held_before = shared_cache.store.stats.entries
    shared_cache.takes.set()
    await settle()

    assert answer.vectors.tolist() == expected("a").tolist()
    assert held_before == 0
    assert shared_cache.store.stats.entries == 1


async def test_if_hits_are_likely_they_are_not_tokenized() -> None:
    """A miss is tokenized after the lookup."""
    model, shared_cache = FakeModel(), FakeSharedCache()
    texts = [f"{number:02}" for number in range(40)]
    await pipeline(model, shared_cache).embed(texts)
    await settle()
    neighbour = pipeline(model, shared_cache)
    model.tokenized.clear()
    for text in texts:
        assert (await neighbour.embed([text])).cached == 1
    hits_tokenized = len(model.tokenized)
    answer = await neighbour.embed(["new"], RAW)

    assert hits_tokenized < 15
    assert model.tokenized[-1] == ["new"]
    assert answer.vectors.tolist() == expected("new").tolist()
