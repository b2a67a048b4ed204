"""The path of a request: fingerprints, local cache, single-flight computation, output.

The pipeline sees its stages through the protocols of `embedder.core.protocols`, so that they may
run in this process or behind handles. Duplicates within a request and between concurrent requests
are computed once. A failing computation fails only the requests that wait for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from embedder.core.deadline import NEVER, Deadline
from embedder.core.entries.blobs import RAGGED
from embedder.core.entries.distinct_inputs import DistinctInputs
from embedder.core.entries.entry_results import EntryResults
from embedder.core.errors import DeadlineExceeded
from embedder.core.outputs import OutputKind
from embedder.core.request import Embeddings, EmbedOptions, Outputs, Scores
from embedder.core.tracing import record_since, step
from embedder.core.types import Input, ModelInfo, Truncate
from embedder.core.vectors import activate, check_dimensions, truncate_and_normalize
from embedder.models.prompts import select_prompt
from embedder.pipeline.admission_control import AdmissionControl
from embedder.pipeline.fingerprint import Fingerprinter
from embedder.pipeline.input_checks import check_inputs
from embedder.pipeline.kinds.outputs import check_kinds, outputs_of, wrong_output
from embedder.pipeline.single_flight import Computations
from embedder.pipeline.stage_executor import StageExecutor, Stages
from embedder.settings.model import LimitSettings

DEFAULTS = EmbedOptions()
CHUNKS = (OutputKind.CHUNKS,)


class Pipeline:
    """The pipeline of one model; use it from one event loop.

    ``limits`` of None does not limit sizes. ``computation_timeout_s`` limits one computation, which
    may outlive the request that started it. Pipelines may share an ``admission`` control; None
    admits everything.
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
        self._limits = limits
        self._fingerprinter = Fingerprinter(model)
        self._cache = stages.local_cache
        self._inputs = stages.stats.inputs
        executor = StageExecutor(model, stages, limits, computation_timeout_s)
        self._widths = executor.widths
        self._computations = Computations(
            executor, AdmissionControl() if admission is None else admission, self._inputs
        )

    @property
    def in_flight(self) -> int:
        """Return the number of keys that are being computed."""
        return len(self._computations)

    async def embed(
        self, inputs: Sequence[Input], options: EmbedOptions = DEFAULTS, deadline: Deadline = NEVER
    ) -> Embeddings:
        """Embed the inputs by ``deadline``; the caller makes it of ``options.timeout_s``.

        Raises:
            InvalidInput: an input or an option is invalid.
            Overloaded: too much other work is queued; the error states when to return.
            Unavailable: a stage is down or too late.
            BackendFailure: the model failed on one of these inputs.
        """
        with step("embed") as span:
            if OutputKind.DENSE not in self.model.outputs:
                raise wrong_output(self.model, OutputKind.DENSE)
            if options.dimensions is not None:
                check_dimensions(options.dimensions, self.model)
            prompt = select_prompt(options, self.model)
            results, rows = await self._entries(inputs, prompt, options, deadline)
            entries = results.entries
            vectors = truncate_and_normalize(
                entries.vectors, dimensions=options.dimensions, normalize=options.normalize
            )
            answer = Embeddings(
                vectors if len(rows) == len(vectors) else vectors[rows],
                entries.token_counts[rows],
                entries.truncated[rows],
                int(np.count_nonzero(results.cached)),
                self.model.name,
                results.timings,
            )
            if span.contexts:
                tokens = int(answer.token_counts.sum())
                span.set(model=answer.model, texts=len(inputs), tokens=tokens, cached=answer.cached)
            return answer

    async def score(
        self,
        inputs: Sequence[Input],
        options: EmbedOptions = DEFAULTS,
        deadline: Deadline = NEVER,
        *,
        raw: bool = False,
    ) -> Scores:
        """Score the inputs, pairs too, with a cross-encoder by ``deadline``.

        Of the options, only those of truncation and the priority apply. ``raw`` leaves out the
        activation that the model's files name.

        Raises:
            InvalidInput: an input is invalid, or the model computes no scores.
            Overloaded, Unavailable, BackendFailure: as `embed`.
        """
        with step("score") as span:
            if OutputKind.SCORES not in self.model.outputs:
                raise wrong_output(self.model, OutputKind.SCORES)
            results, rows = await self._entries(inputs, "", options, deadline, pairs=True)
            entries, model = results.entries, self.model
            scores = activate(entries.vectors, "identity" if raw else model.activation)
            cached = int(results.cached.sum())
            counts, cut = entries.token_counts[rows], entries.truncated[rows]
            tokens = int(counts.sum())
            span.set(model=model.name, texts=len(inputs), tokens=tokens, cached=cached)
            return Scores(
                scores[rows], counts, cut, cached, model.name, results.timings, model.labels
            )

    async def outputs(
        self,
        inputs: Sequence[Input],
        kinds: Collection[OutputKind],
        options: EmbedOptions = DEFAULTS,
        deadline: Deadline = NEVER,
    ) -> Outputs:
        """Compute results of several kinds by ``deadline``, each input in one pass.

        With scores among them, inputs may be pairs, and no prompt applies. With `CHUNKS`, the only
        kind then, inputs are `ChunkTokens`, of which the prompt is a part.

        Raises:
            InvalidInput: an input, an option or a kind is invalid, or the model lacks one.
            Overloaded, Unavailable, BackendFailure: as `embed`.
        """
        with step("outputs") as span:
            wanted = check_kinds(kinds, self.model)
            if {OutputKind.DENSE, OutputKind.CHUNKS}.intersection(wanted):
                check_dimensions(options.dimensions, self.model)
            scores = OutputKind.SCORES in wanted
            bare = scores or wanted == CHUNKS
            prompt = "" if bare else select_prompt(options, self.model)
            results, rows = await self._entries(
                inputs, prompt, options, deadline, pairs=scores, kinds=wanted
            )
            answer = outputs_of(self.model, wanted, results, rows, options)
            tokens = int(answer.token_counts.sum())
            span.set(model=answer.model, texts=len(inputs), tokens=tokens, cached=answer.cached)
            return answer

    async def _entries(
        self,
        inputs: Sequence[Input],
        prompt: str,
        options: EmbedOptions,
        deadline: Deadline,
        *,
        pairs: bool = False,
        kinds: tuple[OutputKind, ...] = (),
    ) -> tuple[EntryResults, NDArray[np.intp]]:
        """Return the results of the distinct inputs, and which of the first kind each input has.

        They come kind after kind; without ``kinds``, they are those of the first output.
        """
        truncate = options.truncate or self.model.truncation
        if kinds == CHUNKS:
            truncate = Truncate.NONE  # windows of texts that have been checked
        else:
            check_inputs(
                inputs,
                limits=self._limits,
                vocabulary_size=self.model.vocabulary_size,
                any_length=options.any_length,
                pairs=pairs,
            )
        first = kinds[0] if kinds else self.model.outputs[0]
        keys = self._fingerprinter.keys(inputs, prompt=prompt, truncate=truncate, kind=first)
        distinct = DistinctInputs.of(keys, inputs, prompt, truncate)
        if kinds and kinds != self.model.outputs[:1]:
            of_kind = partial(self._fingerprinter.keys, inputs, prompt=prompt, truncate=truncate)
            distinct = distinct.for_kinds({kind: of_kind(kind=kind) for kind in kinds})
        results = self._cached(distinct)
        if not results.cached.all():
            try:
                async with deadline.limit():
                    results = await self._computations.complete(distinct, results, options.priority)
            except asyncio.TimeoutError:
                raise DeadlineExceeded("embeddings") from None
        return results, distinct.expand(keys)

    def _cached(self, distinct: DistinctInputs) -> EntryResults:
        """Return the results in the local cache, and room for the others."""
        began_s, widths, keys = time.monotonic(), self._widths, distinct.keys
        if distinct.asked is None:
            width = widths.first
            hits = self._cache.get_many(keys, width)
        else:
            width, hits = RAGGED, widths.look_up(self._cache, distinct)
        record_since(began_s, "cache", tier="local", texts=len(keys), hits=len(hits.rows))
        self._inputs["local_cache"] += len(hits.rows)
        return EntryResults.of_hits(hits, len(keys), width)
