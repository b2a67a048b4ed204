"""The far cache beside the near one: what it spares, and that it can only help."""

from __future__ import annotations

from embedder.core.errors import StageUnavailable
from tests.unit.fake_model import RAW, FakeModel, FakeSharedCache, expected, pipeline, settle


async def test_what_the_far_cache_has_is_not_encoded_and_fills_the_near_one() -> None:
    model, far = FakeModel(), FakeSharedCache()
    first = await pipeline(model, far).embed(["abc", "abcdefghijk"])
    await settle()
    neighbour = pipeline(model, far)
    answer = await neighbour.embed(["abc", "abcdefghijk"])
    gets = far.gets
    again = await neighbour.embed(["abc", "abcdefghijk"])

    assert len(model.encoded) == 1
    assert answer.vectors.tobytes() == again.vectors.tobytes() == first.vectors.tobytes()
    assert answer.truncated.tolist() == [False, True]
    assert far.gets == gets
    assert again.cached == 2


async def test_what_the_far_cache_has_needed_no_computing_and_counts_as_cached() -> None:
    model, far = FakeModel(), FakeSharedCache()
    await pipeline(model, far).embed(["abc"])
    await settle()

    assert (await pipeline(model, far).embed(["abc"])).cached == 1


async def test_what_the_far_cache_lacks_is_computed_beside_what_it_has() -> None:
    model, far = FakeModel(), FakeSharedCache()
    await pipeline(model, far).embed(["b"])
    await settle()
    answer = await pipeline(model, far).embed(["a", "b", "c"], RAW)

    assert model.encoded == [[[98]], [[97], [99]]]
    assert answer.vectors.tolist() == expected("a", "b", "c").tolist()


async def test_a_far_cache_that_fails_is_a_miss() -> None:
    model, far = FakeModel(), FakeSharedCache()
    far.error = StageUnavailable("cache", "gone")
    answer = await pipeline(model, far).embed(["a"], RAW)
    await settle()

    assert answer.vectors.tolist() == expected("a").tolist()


async def test_a_far_cache_that_does_not_answer_is_a_miss() -> None:
    model, far = FakeModel(), FakeSharedCache()
    far.open.clear()
    answer = await pipeline(model, far).embed(["a"], RAW)

    assert answer.vectors.tolist() == expected("a").tolist()
    far.open.set()
    await settle()


async def test_no_answer_waits_for_an_insert_into_the_far_cache() -> None:
    model, far = FakeModel(), FakeSharedCache()
    embedder = pipeline(model, far)
    far.takes.clear()
    answer = await embedder.embed(["a"], RAW)
    held_before = far.store.stats.entries
    far.takes.set()
    await settle()

    assert answer.vectors.tolist() == expected("a").tolist()
    assert held_before == 0
    assert far.store.stats.entries == 1


async def test_where_hits_are_likely_nothing_is_tokenized_for_them() -> None:
    """And for a miss it is all the same, only later."""
    model, far = FakeModel(), FakeSharedCache()
    texts = [f"{number:02}" for number in range(40)]
    await pipeline(model, far).embed(texts)
    await settle()
    neighbour = pipeline(model, far)
    model.tokenized.clear()
    for text in texts:
        assert (await neighbour.embed([text])).cached == 1
    hits_tokenized = len(model.tokenized)
    answer = await neighbour.embed(["new"], RAW)

    assert hits_tokenized < 15
    assert model.tokenized[-1] == ["new"]
    assert answer.vectors.tolist() == expected("new").tolist()
