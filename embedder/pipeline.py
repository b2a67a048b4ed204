"""The way of a request: fingerprint → cache → tokenize → encode → cache → output.

Has no idea where its stages live: in this process or behind handles, it sees the protocols of
`stages`. Duplicates within a request and between requests in flight are computed once; a stage
that fails a request fails only those who wait for that computation.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from embedder.admission import check_inputs, check_tokens
from embedder.cache.failopen import FailOpenCache
from embedder.cache.memory import MemoryCache
from embedder.config import LimitSettings
from embedder.errors import DeadlineExceeded, EmbedderError
from embedder.fingerprint import fingerprints, recipe
from embedder.flights import Flight, Flights
from embedder.output import check_dimensions, finish
from embedder.prompts import prompt_of
from embedder.request import DistinctInputs, Embeddings, EmbedOptions
from embedder.stages import Encoding, Tokenizing
from embedder.types import Answers, Entries, Input, ModelInfo, Tokenized


@dataclass(frozen=True, slots=True)
class Stages:
    """Where the pipeline's work is done; ``near`` is asked first, in this process."""

    tokenizer: Tokenizing
    encoder: Encoding
    near: MemoryCache
    far: FailOpenCache = field(default_factory=FailOpenCache)


class Pipeline:
    """The pipeline of one model; use it from one event loop.

    ``limits`` of None trusts the caller with sizes. ``flight_timeout_s`` bounds a computation,
    which may outlive the request that started it.
    """

    def __init__(
        self,
        model: ModelInfo,
        stages: Stages,
        *,
        limits: LimitSettings | None,
        flight_timeout_s: float | None = None,
    ) -> None:
        self.model = model
        self._stages = stages
        self._limits = limits
        self._flight_timeout_s = flight_timeout_s
        self._flights = Flights()

    async def embed(
        self, inputs: Sequence[Input], options: EmbedOptions | None = None
    ) -> Embeddings:
        """Embed the inputs.

        Raises:
            InvalidInput: an input or an option can never be answered.
            Unavailable: a stage is full, gone, or too late.
            BackendFailure: the model failed on one of these inputs.
        """
        options = options or EmbedOptions()
        check_dimensions(options.dimensions, self.model.width)
        check_inputs(inputs, limits=self._limits, vocabulary_size=self.model.vocabulary_size)
        prompt = prompt_of(options, self.model)
        shared = recipe(self.model, prompt=prompt, truncate=options.truncate)
        keys = fingerprints(shared, inputs)
        distinct = DistinctInputs.of(keys, inputs, prompt, options)
        try:
            answers = await asyncio.wait_for(self._answers(distinct), options.timeout_s)
        except asyncio.TimeoutError:
            raise DeadlineExceeded("embeddings") from None
        entries = answers.entries
        vectors = finish(
            entries.vectors, dimensions=options.dimensions, normalize=options.normalize
        )
        back = distinct.expand(keys)
        return Embeddings(
            vectors[back],
            entries.token_counts[back],
            entries.truncated[back],
            int(answers.cached.sum()),
            self.model.name,
        )

    async def _answers(self, distinct: DistinctInputs) -> Answers:
        """Gather all answers, from the near cache and from flights."""
        hits = self._stages.near.get_many(distinct.keys, self.model.width)
        answers = Answers.of_hits(hits, len(distinct.keys), self.model.width)
        missing = answers.missing()
        while missing:
            missing = await self._fly(distinct, missing, answers)
        return answers

    async def _fly(self, distinct: DistinctInputs, missing: list[int], into: Answers) -> list[int]:
        """Fill the missing rows from flights; return those whose flight another caller spoilt."""
        launched = self._launch(distinct, missing)
        boarded = self._board(distinct, missing)
        spoilt: list[int] = []
        try:
            for flight, seats in boarded.items():
                try:
                    answers = await flight.answers()
                except EmbedderError:
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

    def _launch(self, distinct: DistinctInputs, missing: list[int]) -> Flight | None:
        """Start one flight for everything missing that is not in the air yet."""
        grounded = [row for row in missing if self._flights.find(distinct.keys[row]) is None]
        if not grounded:
            return None
        part = distinct.part(grounded)
        return self._flights.launch(part.keys, self._compute(part))

    def _board(self, distinct: DistinctInputs, missing: list[int]) -> dict[Flight, dict[int, int]]:
        """Take a seat for every missing row: flight → {row of the request: row of the flight}."""
        boarded: dict[Flight, dict[int, int]] = {}
        for row in missing:
            seat = self._flights.find(distinct.keys[row])
            assert seat is not None, "whatever was not in the air has just been launched"
            if seat.flight not in boarded:
                self._flights.board(seat.flight)
                boarded[seat.flight] = {}
            boarded[seat.flight][row] = seat.row
        return boarded

    async def _compute(self, distinct: DistinctInputs) -> Answers:
        """Answer keys that nobody computes yet, from the far cache or by the model."""
        timeout_s = self._flight_timeout_s
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        # Begun before the cache has answered: a lookup costs more time than tokens cost work.
        tokenizing = asyncio.ensure_future(
            self._stages.tokenizer.tokenize(
                distinct.to_tokenize(), truncate=distinct.options.truncate, deadline=deadline
            )
        )
        tokenizing.add_done_callback(_retrieve)
        try:
            hits = await self._stages.far.get_many(distinct.keys, self.model.width)
            answers = Answers.of_hits(hits, len(distinct.keys), self.model.width)
            if misses := answers.missing():
                fresh = await self._encode(distinct, misses, await tokenizing, deadline)
                answers.entries.put(np.array(misses, np.intp), fresh)
                self._stages.far.put_later([distinct.keys[miss] for miss in misses], fresh)
        finally:
            tokenizing.cancel()
        self._stages.near.put_many(distinct.keys, answers.entries)
        return answers

    async def _encode(
        self,
        distinct: DistinctInputs,
        misses: list[int],
        tokenized: Tokenized,
        deadline: float | None,
    ) -> Entries:
        rows = np.array(misses, np.intp)
        tokens = tokenized.tokens.take(rows)
        check_tokens(
            tokens,
            [distinct.rows[miss] for miss in misses],
            truncate=distinct.options.truncate,
            max_tokens=self.model.max_tokens,
            limits=self._limits,
        )
        vectors = await self._stages.encoder.encode(
            tokens, priority=distinct.options.priority, deadline=deadline
        )
        return Entries(vectors, tokens.lengths, tokenized.truncated[rows])


def _retrieve(done: asyncio.Future[Tokenized]) -> None:
    """Take note of an error that nobody awaits, where the cache had everything."""
    if not done.cancelled():
        done.exception()
