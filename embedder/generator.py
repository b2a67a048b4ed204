"""The library's front door: texts to vectors in one process, without Ray.

An `EmbeddingGenerator` is the pipeline with local stages and an event loop in a thread of its own,
so it can be called from plain code and from several threads at once; their work shares batches.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Sequence
from types import TracebackType

from embedder.cache.memory import MemoryCache
from embedder.config import EmbedderSettings, ModelSettings
from embedder.errors import Unavailable
from embedder.local import LocalEncoder, LocalTokenizer
from embedder.pipeline import Pipeline, Stages
from embedder.request import EmbedOptions
from embedder.types import Input, ModelInfo, Vectors


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
        self._encoder = LocalEncoder.load(settings)
        self.model: ModelInfo = self._encoder.model
        stages = Stages(
            tokenizer=LocalTokenizer.load(settings.model),
            encoder=self._encoder,
            near=MemoryCache(settings.cache.max_bytes),
        )
        # The limits protect a server from its clients; a program calling this is its own master.
        self._pipeline = Pipeline(self.model, stages, limits=None)
        self._lock = threading.Lock()
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="embedder")
        self._thread.start()

    def embed(self, inputs: str | Sequence[Input], options: EmbedOptions | None = None) -> Vectors:
        """Return float32[n, width], one row an input, in order; one text gives one row.

        Raises:
            EmbedderError: as `Pipeline.embed`; or `Unavailable`, for a generator that is closed.
        """
        rows: Sequence[Input] = [inputs] if isinstance(inputs, str) else inputs
        with self._lock:
            if self._closed:
                raise Unavailable("the generator is closed")
            work = self._pipeline.embed(rows, options)
            answer = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return answer.result().vectors
        except concurrent.futures.CancelledError:
            raise Unavailable("the generator was closed") from None

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

    async def _end(self) -> None:
        """Cancel every call that is still in progress, and see each of them end."""
        self._encoder.close()
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
