"""Requests for several kinds: what caches and other requests have is not computed again."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from embedder.cache.memory import MemoryCache
from embedder.core.deadline import Deadline
from embedder.core.entries.blobs import blobs_of
from embedder.core.errors import BackendFailure
from embedder.core.outputs import OutputKind, RaggedRows
from embedder.core.request import Embeddings, Outputs
from embedder.core.types import Encoded, Priority, TokenBatch
from embedder.pipeline.pipeline import Pipeline
from embedder.pipeline.stage_executor import Stages
from tests.unit.fake_model import (
    MODEL,
    RAW,
    FakeModel,
    FakeSharedCache,
    expected,
    settle,
    sharded,
)

DENSE, SPARSE, TOKENS = OutputKind.DENSE, OutputKind.SPARSE, OutputKind.TOKENS
KINDS = (DENSE, SPARSE, TOKENS)


class ThreeKinds(FakeModel):
    """Weighs each token by its id; a token vector is the id, twice. Records the kinds of calls."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[OutputKind, ...]] = []

    async def encode(
        self, tokens: TokenBatch, *, priority: Priority, deadline: Deadline
    ) -> Encoded:
        self.asked.append(tokens.kinds)
        dense = await super().encode(tokens, priority=priority, deadline=deadline)
        values = tokens.ids.astype(np.float32)[:, None]
        found = {
            DENSE: dense.vectors,
            SPARSE: blobs_of(RaggedRows.of(values, tokens.lengths, tokens.ids)),
            TOKENS: blobs_of(RaggedRows.of(values.repeat(2, axis=1), tokens.lengths)),
        }
        first, *others = [found[kind] for kind in tokens.kinds or (DENSE,)]
        return replace(dense, vectors=first, others=tuple(others))


def pipeline(model: FakeModel, shared: FakeSharedCache | None = None) -> Pipeline:
    info = replace(MODEL, outputs=KINDS, token_width=2)
    stages = Stages(model, model, MemoryCache(2**20), sharded(shared, timeout_s=1.0))
    return Pipeline(info, stages, limits=None)


def check(found: Outputs, *texts: str) -> None:
    """Check the rows of the kinds that were asked for."""
    ids = [list(map(ord, text)) for text in texts]
    for kind, rows in found.rows.items():
        if kind is DENSE:
            np.testing.assert_array_equal(rows, expected(*texts))
            continue
        assert isinstance(rows, RaggedRows)
        for row, own in zip(rows.split(), ids, strict=True):
            assert row.values[:, 0].tolist() == own
            assert row.ids is None or row.ids.tolist() == own
            assert row.width == (1 if kind is SPARSE else 2)


async def test_one_pass_computes_all_kinds_of_distinct_inputs() -> None:
    model = ThreeKinds()
    found = await pipeline(model).outputs(["ab", "c", "ab"], KINDS, RAW)

    check(found, "ab", "c", "ab")
    assert list(found.rows) == [*KINDS]
    assert found.token_counts.tolist() == [2, 1, 2]
    assert (model.asked, model.encoded) == ([KINDS], [[[97, 98], [99]]])
    assert found.cached == 0


async def test_only_absent_kinds_and_inputs_are_computed() -> None:
    model = ThreeKinds()
    one = pipeline(model)
    await one.embed(["ab"], RAW)
    await one.outputs(["c"], [SPARSE], RAW)
    found = await one.outputs(["ab", "c", "d"], [SPARSE, DENSE], RAW)
    again = await one.outputs(["d", "ab"], [DENSE, SPARSE], RAW)

    check(found, "ab", "c", "d")
    check(again, "d", "ab")
    assert model.asked == [(), (SPARSE,), (DENSE, SPARSE)]
    assert [len(rows) for rows in model.tokenized] == [1, 1, 3]
    assert (found.cached, again.cached) == (0, 2)


async def test_another_ingress_finds_every_kind_in_the_shared_cache() -> None:
    model, shared = ThreeKinds(), FakeSharedCache()
    await pipeline(model, shared).outputs(["ab", "c"], KINDS, RAW)
    await settle()
    found = await pipeline(model, shared).outputs(["c", "ab"], KINDS, RAW)
    more = await pipeline(model, shared).outputs(["c", "d"], [SPARSE, DENSE], RAW)

    check(found, "c", "ab")
    check(more, "c", "d")
    assert (found.cached, len(model.asked)) == (2, 2)
    assert model.encoded[1] == [[100]]


async def test_concurrent_requests_share_what_both_ask_for() -> None:
    model = ThreeKinds()
    model.gate = asyncio.Event()
    one = pipeline(model)
    requests = [
        asyncio.ensure_future(one.outputs(["ab"], kinds, RAW))
        for kinds in ([SPARSE], [SPARSE, TOKENS], KINDS)
    ]
    await settle()
    model.gate.set()
    for found in await asyncio.gather(*requests):
        check(found, "ab")

    assert model.asked == [(SPARSE,), (TOKENS,), (DENSE,)]


@pytest.mark.parametrize("vectors_first", [True, False])
async def test_requests_for_one_kind_and_for_several_share_a_computation(
    vectors_first: bool,
) -> None:
    model = ThreeKinds()
    model.gate = asyncio.Event()
    one = pipeline(model)
    calls = [one.embed(["c", "ab"], RAW), one.outputs(["ab", "c", "d"], KINDS, RAW)]
    started = [asyncio.ensure_future(call) for call in calls[:: 1 if vectors_first else -1]]
    await settle()
    model.gate.set()
    embedded, found = (await asyncio.gather(*started))[:: 1 if vectors_first else -1]

    assert isinstance(embedded, Embeddings)
    assert isinstance(found, Outputs)
    np.testing.assert_array_equal(embedded.vectors, expected("c", "ab"))
    check(found, "ab", "c", "d")
    assert len(model.encoded) == (2 if vectors_first else 1)


async def test_a_large_request_is_computed_in_chunks() -> None:
    model = ThreeKinds()
    texts = [chr(97 + number % 26) * (1 + number // 26) for number in range(80)]
    found = await pipeline(model).outputs(texts, KINDS, RAW)

    check(found, *texts)
    assert len(model.asked) > 1
    assert set(model.asked) == {KINDS}


async def test_a_failing_pass_fails_its_request_and_leaves_nothing_behind() -> None:
    class Failing(ThreeKinds):
        async def encode(self, tokens: TokenBatch, **_: object) -> Encoded:
            raise BackendFailure("broken")

    one = pipeline(Failing())
    with pytest.raises(BackendFailure):
        await one.outputs(["ab"], KINDS)

    assert one.in_flight == 0
