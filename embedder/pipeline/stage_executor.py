"""One computation: look keys up in the shared cache, tokenize and encode the missing inputs."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from embedder.cache.hit_ratio import HitRatio
from embedder.cache.memory import MemoryCache
from embedder.cache.sharding import ShardedCache
from embedder.core.deadline import Deadline
from embedder.core.entries.blobs import RAGGED
from embedder.core.entries.cache_hits import CacheHits
from embedder.core.entries.distinct_inputs import DistinctInputs
from embedder.core.entries.entries import Entries
from embedder.core.entries.entry_results import EntryResults
from embedder.core.pairs import ChunkTokens
from embedder.core.protocols import Encoding, Tokenizing
from embedder.core.tracing import step
from embedder.core.types import Encoded, ModelInfo, Timings, TokenBatch, Tokenized
from embedder.measurements.pipeline import PipelineStats
from embedder.pipeline.admission_control import AdmittedTokens
from embedder.pipeline.chunks import encode_in_chunks
from embedder.pipeline.input_checks import check_tokens
from embedder.pipeline.kinds.outputs import of_results
from embedder.pipeline.kinds.widths import KindWidths
from embedder.pipeline.token_estimate import TokenEstimate
from embedder.settings.model import LimitSettings


@dataclass(frozen=True, slots=True)
class Stages:
    """The stages of a pipeline, and their statistics, which several pipelines may share.

    ``local_cache`` is in this process and is asked first.
    """

    tokenizer: Tokenizing
    encoder: Encoding
    local_cache: MemoryCache
    shared_cache: ShardedCache = field(default_factory=ShardedCache)
    stats: PipelineStats = field(default_factory=PipelineStats)


class StageExecutor:
    """Runs the stages of one model; ``timeout_s`` limits one computation."""

    def __init__(
        self,
        model: ModelInfo,
        stages: Stages,
        limits: LimitSettings | None,
        timeout_s: float | None,
    ) -> None:
        self.token_estimate = TokenEstimate(model.max_tokens)
        self.widths = KindWidths(model)
        self._model = model
        self._stages = stages
        self._limits = limits
        self._timeout_s = timeout_s
        self._hit_ratio = HitRatio()

    async def run(self, distinct: DistinctInputs, work: AdmittedTokens) -> EntryResults:
        """Return the results for all keys, from the shared cache or computed by the model."""
        deadline, start_s = Deadline.after(self._timeout_s), time.monotonic()
        stats, width = self._stages.stats, self.widths.first if distinct.asked is None else RAGGED
        lookup, tokenizing = self._start_lookup(distinct), None
        try:
            if lookup is None:
                hits = CacheHits.empty(width)
            else:
                # Tokenize in parallel with the lookup, which takes longer, unless a full hit is
                # likely: then the call to the tokenizer would be wasted.
                if not self._hit_ratio.hit_is_likely:
                    tokenizing = asyncio.ensure_future(self._tokenize(distinct, deadline))
                    tokenizing.add_done_callback(_retrieve_error)
                # Shielded: a lookup that ends at this moment would swallow the cancellation.
                hits = await asyncio.shield(lookup)
                self._hit_ratio.learn(len(hits.rows), len(distinct.keys))
                stats.stage_seconds["cache"].observe(time.monotonic() - start_s)
                stats.inputs["shared_cache"] += len(hits.rows)
            results = EntryResults.of_hits(hits, len(distinct.keys), width)
            if misses := results.missing():
                tokenized, seconds = await (tokenizing or self._tokenize(distinct, deadline))
                missing = distinct.subset(misses)
                rows = np.array(distinct.inputs_of(misses) if distinct.asked else misses, np.intp)
                tokens = tokenized.tokens.take(rows)
                encoded = await self._encode(missing, tokens, deadline, work)
                results.timings = Timings(seconds, encoded.queue_s, encoded.inference_s)
                stats.computed(len(misses), seconds, encoded.queue_s, encoded.inference_s)
                cut = tokenized.truncated[rows]
                results.fill(misses, self._shared(missing, encoded, tokens.lengths, cut))
        finally:
            for future in (lookup, tokenizing):
                if future is not None:
                    future.cancel()
        ttls_s, local = hits.ttls_of(len(distinct.keys)), self._stages.local_cache
        if distinct.asked is None:
            local.put_many(distinct.keys, results.entries, ttls_s)
        else:
            self.widths.put(local, distinct, results.entries, ttls_s)
        return results

    def _shared(
        self,
        missing: DistinctInputs,
        encoded: Encoded,
        token_counts: NDArray[np.int32],
        truncated: NDArray[np.bool_],
    ) -> Entries:
        """Send computed entries to the shared cache; return one for each result."""
        cache = self._stages.shared_cache
        entries = Entries(encoded.vectors, token_counts, truncated)
        if missing.asked is None:
            cache.put_later(missing.keys, entries)
            return entries
        entries = of_results(missing.asked, encoded, entries)
        self.widths.put_later(cache, missing, entries)
        return entries

    def _start_lookup(self, distinct: DistinctInputs) -> asyncio.Future[CacheHits] | None:
        """Look the keys up in the shared cache, if there is one and a lookup is worth its cost."""
        cache = self._stages.shared_cache
        if not cache or not self._hit_ratio.lookup_pays(len(distinct.keys)):
            return None
        return asyncio.ensure_future(self._look_up(distinct))

    async def _look_up(self, distinct: DistinctInputs) -> CacheHits:
        cache, widths, keys = self._stages.shared_cache, self.widths, distinct.keys
        with step("cache") as span:
            if distinct.asked is None:
                hits = await cache.get_many(keys, widths.first)
            else:
                hits = await widths.look_up_shared(cache, distinct)
            span.set(tier="shared", texts=len(keys), hits=len(hits.rows))
            return hits

    async def _tokenize(
        self, distinct: DistinctInputs, deadline: Deadline
    ) -> tuple[Tokenized, float]:
        """Return the tokens, and the seconds that tokenization took."""
        start_s = time.monotonic()
        with step("tokenization") as span:
            if isinstance(distinct.inputs[0], ChunkTokens):  # tokens already
                batch = TokenBatch.of(cast("list[ChunkTokens]", distinct.inputs))
                return Tokenized(batch, np.zeros(len(batch), np.bool_)), 0.0
            tokenized = await self._stages.tokenizer.tokenize(
                distinct.inputs, truncate=distinct.truncate, deadline=deadline
            )
            span.set(texts=len(distinct.inputs), tokens=len(tokenized.tokens.ids))
        self.token_estimate.learn(distinct.inputs, tokenized.tokens.lengths.tolist())
        return tokenized, time.monotonic() - start_s

    async def _encode(
        self, missing: DistinctInputs, tokens: TokenBatch, deadline: Deadline, work: AdmittedTokens
    ) -> Encoded:
        check_tokens(
            tokens,
            missing.rows,
            truncate=missing.truncate,
            max_tokens=self._model.max_tokens,
            limits=self._limits,
        )
        if missing.asked is not None:
            tokens = replace(tokens, kinds=missing.asked.distinct_kinds)
        encoder, max_tokens = self._stages.encoder, self._model.max_batch_tokens
        total = int(tokens.lengths.sum())
        work.resize(total)
        with step("encode") as span:
            span.set(texts=len(tokens), tokens=total)
            if total > max_tokens:
                return await encode_in_chunks(
                    encoder, tokens, work, max_tokens=max_tokens, deadline=deadline
                )
            encoded = await encoder.encode(tokens, priority=work.priority, deadline=deadline)
        work.computed(total, Timings(queue_s=encoded.queue_s, inference_s=encoded.inference_s))
        return encoded


def _retrieve_error(done: asyncio.Future[tuple[Tokenized, float]]) -> None:
    """Mark an error as retrieved: if the cache has all entries, nothing awaits the tokens."""
    if not done.cancelled():
        done.exception()
