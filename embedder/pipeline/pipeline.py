"""The way of a request: fingerprint → cache → tokenize → encode → cache → output.

Has no idea where its stages live: in this process or behind handles, it sees the protocols of
`stages`. Duplicates within a request and between requests in flight are computed once; a stage
that fails a request fails only those who wait for that computation.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from embedder.cache.hit_ratio import HitRatio
from embedder.cache.memory import MemoryCache
from embedder.cache.sharding import ShardedCache
from embedder.core.errors import DeadlineExceeded
from embedder.core.protocols import Encoding, Tokenizing
from embedder.core.request import DistinctInputs, Embeddings, EmbedOptions
from embedder.core.time_limit import wait_within
from embedder.core.types import (
    CacheHits,
    Entries,
    EntryResults,
    Input,
    ModelInfo,
    Timings,
    Tokenized,
)
from embedder.core.vectors import check_dimensions, truncate_and_normalize
from embedder.models.prompts import prompt_of
from embedder.pipeline.admission_control import AdmissionControl, AdmittedTokens
from embedder.pipeline.chunks import encode_in_chunks
from embedder.pipeline.fingerprint import fingerprints, recipe
from embedder.pipeline.input_checks import check_inputs, check_tokens
from embedder.pipeline.single_flight import Computation, SingleFlight
from embedder.pipeline.token_estimate import TokenEstimate
from embedder.settings.model import LimitSettings


@dataclass(frozen=True, slots=True)
class Stages:
    """Where the pipeline's work is done; ``local_cache`` is asked first, in this process."""

    tokenizer: Tokenizing
    encoder: Encoding
    local_cache: MemoryCache
    shared_cache: ShardedCache = field(default_factory=ShardedCache)


class Pipeline:
    """The pipeline of one model; use it from one event loop.

    ``limits`` of None trusts the caller with sizes. ``computation_timeout_s`` bounds a computation,
    which may outlive the request that started it. ``admission`` decides what is too much beside the
    work of all pipelines that share it; None admits everything.
    """

    def __init__(
        self,
        model: ModelInfo,
        stages: Stages,
        *,
        limits: LimitSettings | None,
        computation_timeout_s: float | None = None,
        admission: AdmissionControl | None = None,
    ) -> None:
        self.model = model
        self._stages = stages
        self._limits = limits
        self._computation_timeout_s = computation_timeout_s
        self._admission = AdmissionControl() if admission is None else admission
        self._sizes = TokenEstimate(model.max_tokens)
        self._flights = SingleFlight()
        self._hits = HitRatio()

    @property
    def in_flight(self) -> int:
        """Return how many keys are being computed."""
        return len(self._flights)

    async def embed(
        self, inputs: Sequence[Input], options: EmbedOptions | None = None
    ) -> Embeddings:
        """Embed the inputs.

        Raises:
            InvalidInput: an input or an option can never be answered.
            Overloaded: too much other work waits; it says when to come back.
            Unavailable: a stage is gone or too late.
            BackendFailure: the model failed on one of these inputs.
        """
        options = options or EmbedOptions()
        check_dimensions(options.dimensions, self.model)
        check_inputs(
            inputs,
            limits=self._limits,
            vocabulary_size=self.model.vocabulary_size,
            any_length=options.any_length,
        )
        prompt = prompt_of(options, self.model)
        truncate = options.truncate or self.model.truncation
        keys = fingerprints(recipe(self.model, prompt=prompt, truncate=truncate), inputs)
        distinct = DistinctInputs.of(keys, inputs, prompt, truncate, options)
        try:
            answers = await wait_within(self._answers(distinct), options.timeout_s)
        except asyncio.TimeoutError:
            raise DeadlineExceeded("embeddings") from None
        entries = answers.entries
        vectors = truncate_and_normalize(
            entries.vectors, dimensions=options.dimensions, normalize=options.normalize
        )
        back = distinct.expand(keys)
        return Embeddings(
            vectors[back],
            entries.token_counts[back],
            entries.truncated[back],
            int(answers.cached.sum()),
            self.model.name,
            answers.timings,
        )

    async def _answers(self, distinct: DistinctInputs) -> EntryResults:
        """Gather all answers, from the near cache and from flights."""
        hits = self._stages.local_cache.get_many(distinct.keys, self.model.width)
        answers = EntryResults.of_hits(hits, len(distinct.keys), self.model.width)
        missing = answers.missing()
        while missing:
            missing = await self._fly(distinct, missing, answers)
        return answers

    async def _fly(
        self, distinct: DistinctInputs, missing: list[int], into: EntryResults
    ) -> list[int]:
        """Fill the missing rows from flights; return those whose flight another caller spoilt."""
        launched = self._launch(distinct, missing)
        boarded = self._board(distinct, missing)
        spoilt: list[int] = []
        try:
            for flight, seats in boarded.items():
                try:
                    answers = await flight.answers()
                except Exception:
                    if flight is launched or len(seats) == len(flight.keys):
                        raise
                    # The error may be that of an input which is not ours: compute ours alone.
                    spoilt += seats
                else:
                    rows = np.fromiter(seats, np.intp, len(seats))
                    into.put(rows, answers, np.fromiter(seats.values(), np.intp, len(seats)))
        finally:
            for flight in boarded:
                self._flights.leave(flight)
        return spoilt

    def _launch(self, distinct: DistinctInputs, missing: list[int]) -> Computation | None:
        """Start one flight for everything missing that is not in the air yet."""
        grounded = [row for row in missing if self._flights.find(distinct.keys[row]) is None]
        if not grounded:
            return None
        part = distinct.subset(grounded)
        tokens = self._sizes.tokens_of(part.to_tokenize())
        # All keys: the caches may hold more of them by the time that a refused request comes back.
        work = self._admission.admit(distinct.keys, tokens, part.options.priority)
        flight = self._flights.launch(part.keys, self._compute(part, work))
        # Not in the computation: one that is cancelled before it has begun runs no `finally`.
        flight.task.add_done_callback(lambda _: work.end())
        return flight

    def _board(
        self, distinct: DistinctInputs, missing: list[int]
    ) -> dict[Computation, dict[int, int]]:
        """Take a seat for every missing row: flight → {row of the request: row of the flight}."""
        boarded: dict[Computation, dict[int, int]] = {}
        for row in missing:
            seat = self._flights.find(distinct.keys[row])
            assert seat is not None, "whatever was not in the air has just been launched"
            if seat.flight not in boarded:
                self._flights.board(seat.flight)
                boarded[seat.flight] = {}
            boarded[seat.flight][row] = seat.row
        return boarded

    async def _compute(self, distinct: DistinctInputs, work: AdmittedTokens) -> EntryResults:
        """Answer keys that nobody computes yet, from the far cache or by the model."""
        timeout_s = self._computation_timeout_s
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        # Begun before the cache has answered, unless it will probably have everything: a lookup
        # takes longer than tokens take, but their call costs whoever does not need it.
        tokenizing = None if self._hits.are_likely else self._begin_tokenizing(distinct, deadline)
        looking = self._begin_looking(distinct)
        try:
            if looking is None:
                hits = CacheHits.empty(self.model.width)
            else:
                # Shielded: a lookup that ends just then keeps the flight's cancellation to itself.
                hits = await asyncio.shield(looking)
                self._hits.learn(len(hits.rows), len(distinct.keys))
            answers = EntryResults.of_hits(hits, len(distinct.keys), self.model.width)
            ttls_s = hits.ttls_of(len(distinct.keys))
            if misses := answers.missing():
                tokenizing = tokenizing or self._begin_tokenizing(distinct, deadline)
                tokenized, seconds = await tokenizing
                fresh, times = await self._encode(distinct, misses, tokenized, deadline, work)
                answers.timings = replace(times, tokenization_s=seconds)
                answers.entries.put(np.array(misses, np.intp), fresh)
                self._stages.shared_cache.put_later([distinct.keys[miss] for miss in misses], fresh)
        finally:
            for begun in (looking, tokenizing):
                if begun is not None:
                    begun.cancel()
        self._stages.local_cache.put_many(distinct.keys, answers.entries, ttls_s)
        return answers

    def _begin_looking(self, distinct: DistinctInputs) -> asyncio.Future[CacheHits] | None:
        """Ask the far cache, if there is one and asking pays."""
        if not self._stages.shared_cache or not self._hits.pays(len(distinct.keys)):
            return None
        return asyncio.ensure_future(
            self._stages.shared_cache.get_many(distinct.keys, self.model.width)
        )

    def _begin_tokenizing(
        self, distinct: DistinctInputs, deadline: float | None
    ) -> asyncio.Future[tuple[Tokenized, float]]:
        tokenizing = asyncio.ensure_future(self._tokenize(distinct, deadline))
        tokenizing.add_done_callback(_retrieve)
        return tokenizing

    async def _tokenize(
        self, distinct: DistinctInputs, deadline: float | None
    ) -> tuple[Tokenized, float]:
        """Return the tokens, and how many seconds they took."""
        began_s = time.monotonic()
        inputs = distinct.to_tokenize()
        tokenized = await self._stages.tokenizer.tokenize(
            inputs, truncate=distinct.truncate, deadline=deadline
        )
        self._sizes.learn(inputs, tokenized.tokens.lengths.tolist())
        return tokenized, time.monotonic() - began_s

    async def _encode(
        self,
        distinct: DistinctInputs,
        misses: list[int],
        tokenized: Tokenized,
        deadline: float | None,
        work: AdmittedTokens,
    ) -> tuple[Entries, Timings]:
        rows = np.array(misses, np.intp)
        tokens = tokenized.tokens.take(rows)
        check_tokens(
            tokens,
            [distinct.rows[miss] for miss in misses],
            truncate=distinct.truncate,
            max_tokens=self.model.max_tokens,
            limits=self._limits,
        )
        work.resize(int(tokens.lengths.sum()))
        encoded = await encode_in_chunks(
            self._stages.encoder,
            tokens,
            work,
            max_tokens=self.model.max_batch_tokens,
            deadline=deadline,
        )
        entries = Entries(encoded.vectors, tokens.lengths, tokenized.truncated[rows])
        return entries, Timings(queue_s=encoded.queue_s, inference_s=encoded.inference_s)


def _retrieve(done: asyncio.Future[tuple[Tokenized, float]]) -> None:
    """Take note of an error that nobody awaits, where the cache had everything."""
    if not done.cancelled():
        done.exception()
