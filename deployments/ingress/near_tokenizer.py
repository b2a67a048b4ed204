"""A tokenizer in the ingress for the little that most requests hold; the rest goes to the stage.

A hop costs twenty times what a sentence does here. More than a little would keep all other requests
waiting meanwhile, since it is done in the loop that answers them. Knows nothing of pipelines.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from embedder.stages import Tokenizing
from embedder.tokenization import Tokenizer
from embedder.types import Input, Tokenized, Truncate

logger = logging.getLogger("ray.serve")


class NearTokenizer:
    """Tokenize inputs of up to ``most`` characters, or ids, in this process, others by ``stage``.

    ``load`` is called in a thread of its own; until it has returned, and for ever if it fails,
    everything goes to the stage.
    """

    def __init__(self, stage: Tokenizing, load: Callable[[], Tokenizer], *, most: int) -> None:
        self._stage = stage
        self._load = load
        self._most = most
        self._tokenizer: Tokenizer | None = None

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
        if self._tokenizer is None or sum(map(len, inputs)) > self._most:
            return await self._stage.tokenize(inputs, truncate=truncate, deadline=deadline)
        return self._tokenizer.encode(inputs, truncate=truncate)
