"""The path of a request: fingerprints, local cache, single-flight computation, output.

The pipeline sees its stages through the protocols of `embedder.core.protocols`, so that they may
run in this process or behind handles. Duplicates within a request and between concurrent requests
are computed once. A failing computation fails only the requests that wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from embedder.core.deadline import NEVER, Deadline
from embedder.core.errors import DeadlineExceeded
from embedder.core.request import DistinctInputs, Embeddings, EmbedOptions, EntryResults
from embedder.core.types import Input, ModelInfo
from embedder.core.vectors import check_dimensions, truncate_and_normalize
from embedder.models.prompts import select_prompt
from embedder.pipeline.admission_control import AdmissionControl
from embedder.pipeline.fingerprint import Fingerprinter
from embedder.pipeline.input_checks import check_inputs
from embedder.pipeline.single_flight import Computation, SingleFlight
from embedder.pipeline.stage_executor import StageExecutor, Stages
from embedder.settings.model import LimitSettings


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
        self._admission = AdmissionControl() if admission is None else admission
        self._executor = StageExecutor(model, stages, limits, computation_timeout_s)
        self._single_flight = SingleFlight()

    @property
    def in_flight(self) -> int:
        """Return the number of keys that are being computed."""
        return len(self._single_flight)

    async def embed(
        self,
        inputs: Sequence[Input],
        options: EmbedOptions | None = None,
        deadline: Deadline = NEVER,
    ) -> Embeddings:
        """Embed the inputs by ``deadline``; the caller makes it of ``options.timeout_s``.

        Raises:
            InvalidInput: an input or an option is invalid.
            Overloaded: too much other work is queued; the error states when to return.
            Unavailable: a stage is down or too late.
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
        prompt = select_prompt(options, self.model)
        truncate = options.truncate or self.model.truncation
        keys = self._fingerprinter.keys(inputs, prompt=prompt, truncate=truncate)
        distinct = DistinctInputs.of(keys, inputs, prompt, truncate, options)
        try:
            async with deadline.limit():
                results = await self._results(distinct)
        except asyncio.TimeoutError:
            raise DeadlineExceeded("embeddings") from None
        entries = results.entries
        vectors = truncate_and_normalize(
            entries.vectors, dimensions=options.dimensions, normalize=options.normalize
        )
        rows = distinct.expand(keys)
        return Embeddings(
            vectors[rows],
            entries.token_counts[rows],
            entries.truncated[rows],
            int(results.cached.sum()),
            self.model.name,
            results.timings,
        )

    async def _results(self, distinct: DistinctInputs) -> EntryResults:
        """Collect all results from the local cache and from computations."""
        hits = self._cache.get_many(distinct.keys, self.model.width)
        results = EntryResults.of_hits(hits, len(distinct.keys), self.model.width)
        missing = results.missing()
        while missing:
            missing = await self._compute(distinct, missing, results)
        return results

    async def _compute(
        self, distinct: DistinctInputs, missing: list[int], into: EntryResults
    ) -> list[int]:
        """Fill the missing rows; return the rows to retry because a shared computation failed."""
        started = self._start(distinct, missing)
        joined = self._join(distinct, missing)
        retry: list[int] = []
        try:
            for computation, rows in joined.items():
                try:
                    results = await computation.results()
                except Exception:
                    if computation is started or len(rows) == len(computation.keys):
                        raise
                    # An input of another request may have failed: compute these rows alone.
                    retry += rows
                else:
                    own = np.fromiter(rows, np.intp, len(rows))
                    into.put(own, results, np.fromiter(rows.values(), np.intp, len(rows)))
        finally:
            for computation in joined:
                self._single_flight.leave(computation)
        return retry

    def _start(self, distinct: DistinctInputs, missing: list[int]) -> Computation | None:
        """Start one computation for all missing rows that are not being computed yet."""
        rows = [row for row in missing if self._single_flight.find(distinct.keys[row]) is None]
        if not rows:
            return None
        subset = distinct.subset(rows)
        tokens = self._executor.estimate_tokens(subset)
        # Identify the request by all keys: when a refused request returns, fewer may be missing.
        work = self._admission.admit(distinct.keys, tokens, subset.options.priority)
        computation = self._single_flight.start(subset.keys, self._executor.run(subset, work))
        # Not in the coroutine: if it is cancelled before its first step, no `finally` runs.
        computation.task.add_done_callback(lambda _: work.end())
        return computation

    def _join(
        self, distinct: DistinctInputs, missing: list[int]
    ) -> dict[Computation, dict[int, int]]:
        """Join the computations of all missing rows.

        Return for each the rows of the request, each with its row in the computation.
        """
        joined: dict[Computation, dict[int, int]] = {}
        for row in missing:
            pending = self._single_flight.find(distinct.keys[row])
            assert pending is not None, "every missing row is being computed by now"
            if pending.computation not in joined:
                self._single_flight.join(pending.computation)
                joined[pending.computation] = {}
            joined[pending.computation][row] = pending.row
        return joined
