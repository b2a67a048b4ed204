"""A tokenizer in the process of its caller; requests that it does not take go to the Tokenizer.

A call to another process takes as long as tokenizing a hundred sentences here. Short inputs are
tokenized on the event loop, longer ones in a thread, so that they do not block other requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from deployments.settings.placement import AUTO_CHARACTERS, Placement
from deployments.settings.service import ServeSettings
from deployments.tokenizer.client import Splitting
from embedder.chunking.request import ChunkOptions, SplitTexts
from embedder.core.deadline import Deadline
from embedder.core.errors import ConfigurationError, DeadlineExceeded
from embedder.core.types import Input, ModelInfo, Tokenized, Truncate
from embedder.inference.loading import load_tokenizer
from embedder.inference.local import LocalTokenizer
from embedder.models.files import ModelFiles
from embedder.pipeline.threads import QueueStats
from embedder.settings.model import ModelSettings

IN_LOOP_CHARACTERS = 2000
"""Tokenizing so many characters takes under 0.5 ms, about the cost of a switch to a thread."""

THREADS = 2


class ColocatedTokenizer:
    """Tokenizes the requests of its placement by ``local``, and the others by ``remote``.

    Ids count like characters.
    """

    def __init__(self, remote: Splitting, local: LocalTokenizer, placement: Placement) -> None:
        self._remote = remote
        self._local = local
        self._takes_all = placement == "colocated"

    @classmethod
    def load(
        cls, remote: Splitting, settings: ServeSettings, model: ModelSettings, info: ModelInfo
    ) -> ColocatedTokenizer:
        """Load the tokenizer of a model that encoder replicas have loaded as ``info``.

        Raises:
            ConfigurationError: it is not the tokenizer of the encoder replicas.
        """
        files = ModelFiles.open(model)
        if files.tokenizer_digest != info.tokenizer_digest:
            raise ConfigurationError(
                f"this node has another tokenizer of {info.name!r} than encoders"
            )
        local = LocalTokenizer(load_tokenizer(files), threads=THREADS)
        return cls(remote, local, settings.tokenizer.placement)

    @property
    def queue(self) -> QueueStats:
        """Return the waiting and running work of the threads."""
        return self._local.queue

    async def tokenize(
        self, inputs: Sequence[Input], *, truncate: Truncate, deadline: Deadline
    ) -> Tokenized:
        """Return the tokens of every input."""
        characters = sum(map(len, inputs))
        if characters <= IN_LOOP_CHARACTERS:
            return self._local.encode(inputs, truncate=truncate)
        if characters <= AUTO_CHARACTERS or self._takes_all:
            return await self._local.tokenize(inputs, truncate=truncate, deadline=deadline)
        return await self._remote.tokenize(inputs, truncate=truncate, deadline=deadline)

    async def split(
        self,
        texts: Sequence[Input],
        options: ChunkOptions,
        *,
        prompt: str,
        most: int,
        deadline: Deadline,
    ) -> SplitTexts:
        """Return what `Splitting.split` returns."""
        if sum(map(len, texts)) > AUTO_CHARACTERS and not self._takes_all:
            return await self._remote.split(
                texts, options, prompt=prompt, most=most, deadline=deadline
            )
        try:
            async with deadline.limit():
                return await self._local.split_in_thread(texts, options, prompt=prompt, most=most)
        except asyncio.TimeoutError:
            raise DeadlineExceeded("Tokenizer") from None
