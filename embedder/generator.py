"""The library's front door: texts to vectors in one process, without Ray.

An `EmbeddingGenerator` is the pipeline with local stages and an event loop in a thread of its own,
so it can be called from plain code, from coroutines and from several threads at once; their work
shares batches.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Generator, Iterable, Iterator, Sequence, Sized
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace
from types import TracebackType
from typing import TypeVar

import numpy as np

from embedder.cache.memory import MemoryCache
from embedder.core.errors import Unavailable
from embedder.core.request import Embeddings, EmbedOptions
from embedder.core.types import (
    Input,
    InputType,
    ModelInfo,
    SimilarityName,
    TokenRow,
    Truncate,
    Vectors,
)
from embedder.inference.loading import load_model
from embedder.inference.local import LocalEncoder, LocalTokenizer, device_thread
from embedder.pipeline.input_checks import check_collection, check_types
from embedder.pipeline.pipeline import Pipeline
from embedder.pipeline.stage_executor import Stages
from embedder.pipeline.streaming import in_chunks
from embedder.progress import Progress
from embedder.settings.model import EmbedderSettings, ModelSettings
from embedder.similarity.metrics import similarity
from embedder.statistics import GeneratorStats, statistics

AnswerT = TypeVar("AnswerT")

Texts = str | Sequence[Input]
"""One text, or any number of texts and lists of token ids."""


class EmbeddingGenerator:
    """A loaded model that embeds texts.

    ``model`` is an alias of the catalogue or a directory; it takes the place of the name in
    ``settings``. Close it, or use it in a ``with`` statement, to free its threads.

    Raises:
        ConfigurationError: the model is missing, unsafe or not supported.
    """

    def __init__(
        self, model: str | None = None, *, settings: EmbedderSettings | None = None
    ) -> None:
        settings = settings or EmbedderSettings()
        if model is not None:
            named = settings.model.model_dump() | {"name": model}
            settings = settings.model_copy(update={"model": ModelSettings(**named)})
        self.settings = settings
        self._device = device_thread()
        self._encoder = LocalEncoder(load_model(settings), settings.batching, self._device)
        self.model: ModelInfo = self._encoder.model
        self._tokenizer = LocalTokenizer.load(settings.model)
        self._cache = MemoryCache(settings.cache.max_bytes, ttl_s=settings.cache.ttl_s)
        stages = Stages(tokenizer=self._tokenizer, encoder=self._encoder, local_cache=self._cache)
        # The limits protect a server from its clients; a program calling this is its own master.
        self._pipeline = Pipeline(self.model, stages, limits=None)
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._closed = False
        self._ending = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="embedder")
        self._thread.start()

    def embed(
        self, inputs: Texts, options: EmbedOptions | None = None, *, show_progress: bool = False
    ) -> Vectors:
        """Return float32[n, width], one row an input, in order; one text gives one row.

        ``show_progress`` draws a bar on stderr. Ctrl-C cancels what has not been computed.

        Raises:
            EmbedderError: as `Pipeline.embed`; or `Unavailable`, for a generator that is closed.
        """
        rows = _rows(inputs)
        if not show_progress:
            return self._result(self._submit(rows, options)).vectors
        with Progress(len(rows)) as progress, closing(self._chunks(rows, options)) as chunks:
            parts = [answer.vectors for answer in progress.over(chunks)]
        return np.concatenate(parts) if parts else self.embed([], options)

    def embed_query(self, inputs: Texts, options: EmbedOptions | None = None) -> Vectors:
        """Return the vectors of search queries: as `embed`, with the model's prompt for them."""
        return self.embed(inputs, _for(InputType.QUERY, options))

    def embed_document(self, inputs: Texts, options: EmbedOptions | None = None) -> Vectors:
        """Return the vectors of what is searched: as `embed`, with the model's prompt for it."""
        return self.embed(inputs, _for(InputType.DOCUMENT, options))

    async def aembed(self, inputs: Texts, options: EmbedOptions | None = None) -> Vectors:
        """Return what `embed` returns, from any event loop; being cancelled cancels the work."""
        answer = asyncio.wrap_future(self._submit(_rows(inputs), options))
        return (await answer).vectors

    def embed_stream(
        self,
        inputs: Iterable[Input],
        options: EmbedOptions | None = None,
        *,
        total: int | None = None,
        show_progress: bool = False,
    ) -> Iterator[Vectors]:
        """Yield float32[width] for every input, in order, however many there are.

        About a thousand inputs are read ahead of the vectors, so memory stays bounded; a time-out
        in the options holds for some hundred of them together. Stop reading, and what has not
        been computed is cancelled. ``total`` tells the bar of ``show_progress`` how many there
        are, where ``inputs`` has no length.

        Raises:
            EmbedderError: as `embed`, after the vectors of what came before its chunk.
            Exception: what reading ``inputs`` raised, after the vectors of what had been read.
        """
        items = [inputs] if isinstance(inputs, str) else inputs
        check_collection(items, sized=False)
        if total is None and isinstance(items, Sized):
            total = len(items)
        with (
            Progress(total, shown=show_progress) as progress,
            closing(self._chunks(items, options)) as chunks,
        ):
            for answer in progress.over(chunks):
                for vector in answer.vectors:
                    yield vector.copy()  # a view would keep its whole chunk alive

    def tokenize(self, inputs: Texts, *, truncate: Truncate | None = None) -> list[TokenRow]:
        """Return int32[k] for every input: the ids that the model would read.

        ``truncate`` None cuts the end that the model's files name.
        """
        rows = _rows(inputs)
        check_types(rows)
        end = truncate or self.model.truncation
        return self._tokenizer.encode(rows, truncate=end).tokens.rows()

    def similarity(
        self, a: Texts | Vectors, b: Texts | Vectors, metric: SimilarityName | None = None
    ) -> Vectors:
        """Return float32[n, m]: how near every text or vector of ``a`` is to every one of ``b``.

        ``metric`` of None takes the one that the model was made for. Larger is nearer: distances
        are negated.

        Raises:
            InvalidVector: the widths differ.
            EmbedderError: as `embed`.
        """
        chosen: SimilarityName = metric or self.model.similarity
        return similarity(self._vectors(a), self._vectors(b), chosen)

    def warm_up(self, inputs: Texts = ()) -> float:
        """Compute a batch of the largest size, and what is given, into the cache; return seconds.

        A generator has computed once already when it has been made; this is for a device that has
        slept, and for filling the cache.
        """
        began = time.perf_counter()
        self._result(self._on_loop(self._encoder.compute_largest_batch()))
        for _ in self._chunks(_rows(inputs), None):
            pass
        return time.perf_counter() - began

    def stats(self) -> GeneratorStats:
        """Return what has been done since the generator was made, and how fast."""
        return statistics(self._encoder, self._cache.stats, time.monotonic() - self._began)

    def close(self) -> None:
        """End the threads; calls that still wait fail with `Unavailable`."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._device.shutdown(wait=False)

    def _submit(self, rows: Sequence[Input], options: EmbedOptions | None) -> Future[Embeddings]:
        return self._on_loop(self._pipeline.embed(rows, options))

    def _chunks(
        self, inputs: Iterable[Input], options: EmbedOptions | None
    ) -> Generator[Embeddings, None, None]:
        return in_chunks(inputs, lambda part: self._submit(part, options))

    def _vectors(self, items: Texts | Vectors) -> Vectors:
        if not isinstance(items, np.ndarray):
            return self.embed(items)
        return self.embed(items.tolist()) if items.dtype.kind in "UTO" else items

    def _on_loop(self, work: Coroutine[None, None, AnswerT]) -> Future[AnswerT]:
        with self._lock:
            if self._closed:
                work.close()
                raise Unavailable("the generator is closed")
            return asyncio.run_coroutine_threadsafe(self._unless_closed(work), self._loop)

    async def _unless_closed(self, work: Coroutine[None, None, AnswerT]) -> AnswerT:
        """Await work; closing cancels it, and its caller, who did not, is told with an error."""
        try:
            return await work
        except asyncio.CancelledError:
            if self._ending:
                raise Unavailable("the generator was closed") from None
            raise

    @staticmethod
    def _result(answer: Future[AnswerT]) -> AnswerT:
        try:
            return answer.result()
        except BaseException:
            answer.cancel()  # where it is the wait that was interrupted, as Ctrl-C does
            raise

    async def _end(self) -> None:
        """Cancel every call that is still in progress, and see each of them end."""
        self._ending = True
        self._encoder.close()
        self._tokenizer.close()
        calls = asyncio.all_tasks() - {asyncio.current_task()}
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await self._loop.shutdown_default_executor()

    def __enter__(self) -> EmbeddingGenerator:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _rows(inputs: Texts) -> Sequence[Input]:
    if isinstance(inputs, str):
        return [inputs]
    check_collection(inputs)
    # Columns of tables and arrays have a length and an order, and are indexed in their own ways.
    return inputs if isinstance(inputs, list | tuple) else list(inputs)


def _for(kind: InputType, options: EmbedOptions | None) -> EmbedOptions:
    """Ask for the prompt of a kind of input, unless the options name one themselves."""
    options = options or EmbedOptions()
    if options.prompt is not None or options.prompt_name is not None:
        return options
    return replace(options, input_type=kind)
