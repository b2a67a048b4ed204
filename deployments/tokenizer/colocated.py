"""A tokenizer in the ingress process for small requests; large requests go to the Tokenizer.

A call to another process takes as long as tokenizing a hundred sentences here. Short inputs are
tokenized on the event loop, longer ones in a thread, so that they do not block other requests.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

from deployments.settings.placement import AUTO_CHARACTERS, Placement
from embedder.core.deadline import Deadline
from embedder.core.protocols import Tokenizing
from embedder.core.types import Input, Tokenized, Truncate
from embedder.inference.tokenization import FastTokenizer
from embedder.pipeline.threads import CountedThreads, QueueStats

logger = logging.getLogger("ray.serve")

MAX_CHARACTERS: Mapping[Placement, float] = MappingProxyType(
    {"remote": 0, "auto": AUTO_CHARACTERS, "colocated": math.inf}
)
"""The characters of the largest request that the ingress tokenizes."""

IN_LOOP_CHARACTERS = 2000
"""Tokenizing so many characters takes under 0.5 ms, about the cost of a switch to a thread."""

THREADS = 2


class ColocatedTokenizer:
    """Tokenizes the requests of its placement here, and larger ones by ``stage``.

    ``load`` runs in a separate thread. Until it returns, or if it fails, all requests go to the
    stage. Ids count like characters.
    """

    def __init__(
        self, stage: Tokenizing, load: Callable[[], FastTokenizer], placement: Placement
    ) -> None:
        self._stage = stage
        self._load = load
        self._max_characters = MAX_CHARACTERS[placement]
        # Separate threads, so that no other work delays a request here.
        self._threads = CountedThreads("tokenizer", THREADS)
        self._tokenizer: FastTokenizer | None = None

    @property
    def queue(self) -> QueueStats:
        """Return the waiting and running work of the threads."""
        return self._threads.stats

    async def load(self) -> None:
        """Load the tokenizer, unless all requests go to the stage."""
        if self._max_characters == 0:
            return
        try:
            self._tokenizer = await asyncio.to_thread(self._load)
        except Exception as error:  # noqa: BLE001 - the stage can do the same work
            logger.warning(
                "no tokenizer in the ingress, all requests go to the Tokenizer: %r", error
            )

    async def tokenize(
        self, inputs: Sequence[Input], *, truncate: Truncate, deadline: Deadline
    ) -> Tokenized:
        """Return the tokens of every input."""
        characters = sum(map(len, inputs))
        if self._tokenizer is None or characters > self._max_characters:
            return await self._stage.tokenize(inputs, truncate=truncate, deadline=deadline)
        if characters > IN_LOOP_CHARACTERS:
            encode = partial(self._tokenizer.encode, inputs, truncate=truncate)
            return await self._threads.run(encode)
        return self._tokenizer.encode(inputs, truncate=truncate)
