"""Embedding in one process, without Ray.

An `EmbeddingGenerator` runs the pipeline with local stages on an event loop in its own thread, so
that synchronous code, coroutines and several threads can call it and share batches.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator, Iterable, Iterator, Sequence, Sized
from concurrent.futures import Future
from contextlib import closing

import numpy as np

from embedder.cache.memory import MemoryCache
from embedder.chunking.request import Boundaries, ChunkEmbeddings, ChunkOptions
from embedder.chunking.texts import by_text, chunk_texts, naming_texts
from embedder.core.deadline import Deadline
from embedder.core.outputs import OutputKind
from embedder.core.request import Embeddings, EmbedOptions
from embedder.core.types import Input, InputType, SimilarityName, TokenRow, Truncate, Vectors
from embedder.core.vectors import check_dimensions
from embedder.inference.device_thread import device_thread
from embedder.inference.loading import load_model
from embedder.inference.local import LocalEncoder, LocalTokenizer
from embedder.loop_thread import LoopThread
from embedder.models.prompts import select_prompt
from embedder.output_calls import OutputCalls
from embedder.pipeline.input_checks import check_collection, check_types
from embedder.pipeline.kinds.outputs import check_late, chunk_embeddings
from embedder.pipeline.pipeline import Pipeline
from embedder.pipeline.stage_executor import Stages
from embedder.pipeline.streaming import in_chunks
from embedder.progress import Progress
from embedder.scoring import Scoring, Texts, rows_of
from embedder.settings.model import EmbedderSettings, ModelSettings
from embedder.similarity.metrics import similarity
from embedder.statistics import GeneratorStats, statistics


class EmbeddingGenerator(Scoring, OutputCalls):
    """A loaded model that embeds texts or, if it is a cross-encoder, scores them.

    ``model`` is an alias of the catalogue or a directory, and replaces the name in ``settings``.
    Close the generator, or use it in a ``with`` statement, to end its threads.

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
        loaded = load_model(settings)
        self._encoder = LocalEncoder(loaded, settings.batching, self._device)
        self.model = self._encoder.model
        self._tokenizer = LocalTokenizer.load(settings.model)
        self._cache = MemoryCache(settings.cache.max_bytes, ttl_s=settings.cache.ttl_s)
        stages = Stages(tokenizer=self._tokenizer, encoder=self._encoder, local_cache=self._cache)
        # Limits protect a server from its clients, which a generator does not have.
        self._pipeline = Pipeline(self.model, stages, limits=None)
        self._started = time.monotonic()
        self._loop = LoopThread("generator")

    def embed(
        self, inputs: Texts, options: EmbedOptions | None = None, *, show_progress: bool = False
    ) -> Vectors:
        """Return float32[n, width], one row per input, in order; one text gives one row.

        ``show_progress`` draws a bar on stderr. Ctrl-C cancels inputs that are not computed yet.

        Raises:
            EmbedderError: as `Pipeline.embed`, or `Unavailable` if the generator is closed.
        """
        rows = rows_of(inputs)
        if not show_progress:
            return self._loop.result(self._submit(rows, options)).vectors
        with Progress(len(rows)) as progress, closing(self._chunks(rows, options)) as chunks:
            parts = [result.vectors for result in progress.track(chunks)]
        return np.concatenate(parts) if parts else self.embed([], options)

    def embed_query(self, inputs: Texts, options: EmbedOptions | None = None) -> Vectors:
        """Return what `embed` returns, with the model's prompt for search queries."""
        return self.embed(inputs, (options or EmbedOptions()).for_input_type(InputType.QUERY))

    def embed_document(self, inputs: Texts, options: EmbedOptions | None = None) -> Vectors:
        """Return what `embed` returns, with the model's prompt for documents."""
        return self.embed(inputs, (options or EmbedOptions()).for_input_type(InputType.DOCUMENT))

    async def aembed(self, inputs: Texts, options: EmbedOptions | None = None) -> Vectors:
        """Return what `embed` returns, on any event loop; a cancellation cancels the work."""
        result = asyncio.wrap_future(self._submit(rows_of(inputs), options))
        return (await result).vectors

    def embed_stream(
        self,
        inputs: Iterable[Input],
        options: EmbedOptions | None = None,
        *,
        total: int | None = None,
        show_progress: bool = False,
    ) -> Iterator[Vectors]:
        """Yield float32[width] for every input, in order, in bounded memory.

        About a thousand inputs are read ahead. A timeout in the options applies to each chunk of
        some hundred inputs. Closing the iterator cancels inputs that are not computed yet.
        ``total`` is the number of inputs for ``show_progress`` if ``inputs`` has no length.

        Raises:
            EmbedderError: as `embed`, after the vectors of the chunks before.
            Exception: the error of ``inputs``, after the vectors of the inputs read before.
        """
        items = [inputs] if isinstance(inputs, str) else inputs
        check_collection(items, sized=False)
        if total is None and isinstance(items, Sized):
            total = len(items)
        with (
            Progress(total, shown=show_progress) as progress,
            closing(self._chunks(items, options)) as chunks,
        ):
            for result in progress.track(chunks):
                for vector in result.vectors:
                    yield vector.copy()  # a view would keep the whole chunk in memory

    def tokenize(self, inputs: Texts, *, truncate: Truncate | None = None) -> list[TokenRow]:
        """Return int32[k] for every input: its token ids, with special tokens, after truncation.

        ``truncate`` None cuts the end that the model's files name.
        """
        rows = rows_of(inputs)
        check_types(rows)
        end = truncate or self.model.truncation
        return self._tokenizer.encode(rows, truncate=end).tokens.rows()

    def embed_chunks(  # noqa: PLR0913 - options of chunks, and those of vectors
        self,
        texts: Texts,
        options: EmbedOptions | None = None,
        *,
        size: int = 256,
        overlap: int = 32,
        boundaries: Boundaries = "tokens",
        input_type: InputType | None = None,
        late: bool = False,
        show_progress: bool = False,
    ) -> list[ChunkEmbeddings]:
        """Split every text into chunks, and return the chunks of each with their vectors.

        The vector of a chunk is that which `embed` returns for it; with ``late``, which shows no
        progress, the mean of its tokens after the model has read the text around it (late
        chunking). `ChunkOptions` describes the rest; ``input_type`` replaces that in ``options``.

        Raises:
            InvalidInput: an option is outside its limits, a text has only white space, or ``late``
                is given for a model without mean pooling.
            EmbedderError: as `embed`.
        """
        rows, chunking = rows_of(texts), ChunkOptions(size, overlap, boundaries, late)
        options = options or EmbedOptions()
        options = options if input_type is None else options.for_input_type(input_type)
        chunking.check(self.model.max_tokens)
        check_dimensions(options.dimensions, self.model)
        prompt = select_prompt(options, self.model)
        if late:
            check_late(self.model)
        split = self._tokenizer.split(rows, chunking, prompt=prompt)
        if split.windows is not None:
            deadline = Deadline.after(options.timeout_s)
            work = self._pipeline.outputs(split.windows, {OutputKind.CHUNKS}, options, deadline)
            return by_text(split.chunks, chunk_embeddings(self._loop.run(work)).vectors)
        with naming_texts(split.chunks):
            parts = chunk_texts(rows, split.chunks)
            vectors = self.embed(parts, options, show_progress=show_progress)
        return by_text(split.chunks, vectors)

    def similarity(
        self, a: Texts | Vectors, b: Texts | Vectors, metric: SimilarityName | None = None
    ) -> Vectors:
        """Return float32[n, m], the similarity of each text or vector of ``a`` to each of ``b``.

        ``metric`` None is the metric of the model. Larger is more similar: distances are negated.

        Raises:
            InvalidVector: the widths differ.
            EmbedderError: as `embed`.
        """
        chosen: SimilarityName = metric or self.model.similarity
        return similarity(self._vectors(a), self._vectors(b), chosen)

    def warm_up(self, inputs: Texts = ()) -> float:
        """Compute a batch of the largest size, then ``inputs`` into the cache; return the seconds.

        Loading has already computed one batch: use this to wake a device, or to fill the cache.
        """
        started = time.perf_counter()
        self._loop.run(self._encoder.compute_largest_batch())
        for _ in self._chunks(rows_of(inputs), None):
            pass
        return time.perf_counter() - started

    def stats(self) -> GeneratorStats:
        """Return the counters since the generator was created."""
        return statistics(self._encoder, self._cache.stats, time.monotonic() - self._started)

    def close(self) -> None:
        """End the threads; waiting calls fail with `Unavailable`.

        A second call waits for the first.
        """
        self._loop.close(self._stop_stages)
        self._device.shutdown(wait=False)

    def _submit(self, rows: Sequence[Input], options: EmbedOptions | None) -> Future[Embeddings]:
        options = options or EmbedOptions()
        deadline = Deadline.after(options.timeout_s)
        return self._loop.submit(self._pipeline.embed(rows, options, deadline))

    def _chunks(
        self, inputs: Iterable[Input], options: EmbedOptions | None
    ) -> Generator[Embeddings, None, None]:
        return in_chunks(inputs, lambda part: self._submit(part, options))

    def _vectors(self, items: Texts | Vectors) -> Vectors:
        if not isinstance(items, np.ndarray):
            return self.embed(items)
        return self.embed(items.tolist()) if items.dtype.kind in "UTO" else items

    def _stop_stages(self) -> None:
        self._encoder.close()
        self._tokenizer.close()

    def __enter__(self) -> EmbeddingGenerator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
