"""A tokenizer in the ingress for what most requests hold; the rest goes to the stage.

A hop costs as much as a hundred sentences do here. A few are done in the loop that answers all
requests, more in a thread, so that nobody else waits for them. Knows nothing of pipelines.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

from embedder.core.protocols import Tokenizing
from embedder.core.types import Input, Tokenized, Truncate
from embedder.inference.tokenization import FastTokenizer
from embedder.pipeline.threads import CountedThreads, QueueStats

logger = logging.getLogger("ray.serve")

IN_LOOP_CHARACTERS = 2000
"""What takes less than half a millisecond: going to a thread and back would cost as much."""

THREADS = 2


class ColocatedTokenizer:
    """Tokenize inputs of up to ``most`` characters, or ids, in this process, others by ``stage``.

    ``load`` is called in a thread of its own; until it has returned, and for ever if it fails,
    everything goes to the stage.
    """

    def __init__(self, stage: Tokenizing, load: Callable[[], FastTokenizer], *, most: int) -> None:
        self._stage = stage
        self._load = load
        self._most = most
        # Of its own: nothing else that runs in threads may make a request wait here.
        self._threads = CountedThreads("tokenizer", THREADS)
        self._tokenizer: FastTokenizer | None = None

    @property
    def queue(self) -> QueueStats:
        """Return what waits for the threads, and what they do."""
        return self._threads.stats

    async def load(self) -> None:
        """Load the tokenizer, if there is anything that it may do."""
        if self._most == 0:
            return
        try:
            self._tokenizer = await asyncio.to_thread(self._load)
        except Exception as error:  # noqa: BLE001 - the stage does the same, only farther away
            logger.warning("no tokenizer in the ingress, the Tokenizer does it all: %r", error)

    async def tokenize(
        self, inputs: Sequence[Input], *, truncate: Truncate, deadline: float | None
    ) -> Tokenized:
        """Return the tokens of every input."""
        characters = sum(map(len, inputs))
        if self._tokenizer is None or characters > self._most:
            return await self._stage.tokenize(inputs, truncate=truncate, deadline=deadline)
        if characters > IN_LOOP_CHARACTERS:
            encode = partial(self._tokenizer.encode, inputs, truncate=truncate)
            return await self._threads.run(encode)
        return self._tokenizer.encode(inputs, truncate=truncate)
