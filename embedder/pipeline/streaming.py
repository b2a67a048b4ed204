"""Any number of inputs through a pipeline, in order and in bounded memory.

Reads ahead by a few chunks, so that the device always has a batch waiting, and no further. Knows
nothing of how a chunk is computed: it is given what returns the future of one.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count, islice

from embedder.core.errors import InvalidInput
from embedder.core.request import Embeddings
from embedder.core.types import Input

CHUNK = 256
"""Inputs that are submitted together: several batches of the device."""

AHEAD = 3
"""Chunks that wait or are computed while one is read by the caller."""

Submit = Callable[[list[Input]], "Future[Embeddings]"]


def in_chunks(
    inputs: Iterable[Input], submit: Submit, *, chunk: int = CHUNK, ahead: int = AHEAD
) -> Generator[Embeddings, None, None]:
    """Yield the answer of every chunk of inputs, in order.

    At most ``ahead`` + 1 chunks have been read and not been yielded. An error comes where its
    answer would have come, be it of a chunk or of reading the inputs, and counts the inputs from
    the first of all; whatever was ahead is cancelled, as it is when the caller stops reading.
    """
    parts = _submitted(inputs, submit, chunk)
    waiting: deque[_Part] = deque()
    try:
        while True:
            waiting.extend(islice(parts, ahead + 1 - len(waiting)))
            if not waiting:
                return
            # Not taken out before it has ended: an interruption must find it to cancel it.
            answer = waiting[0].result()
            waiting.popleft()
            yield answer
    finally:
        for part in waiting:
            part.future.cancel()


@dataclass(frozen=True, slots=True)
class _Part:
    """The future of a chunk, and the number of its first input."""

    future: Future[Embeddings]
    first: int = 0

    def result(self) -> Embeddings:
        try:
            return self.future.result()
        except InvalidInput as error:
            raise renumbered(error, self.first) from None


def _submitted(inputs: Iterable[Input], submit: Submit, chunk: int) -> Iterator[_Part]:
    """Yield the parts as they are submitted; one that failed stands for a fault of the inputs."""
    source = iter(inputs)
    for first in count(0, chunk):
        part: list[Input] = []
        fault: Exception | None = None
        try:
            part.extend(islice(source, chunk))
        except Exception as error:  # noqa: BLE001 - it is raised where the caller gets to it
            fault = error
        if part:
            yield _Part(submit(part), first)
        if fault is not None:
            failed: Future[Embeddings] = Future()
            failed.set_exception(fault)
            yield _Part(failed)
        if len(part) < chunk:
            return


def renumbered(error: InvalidInput, first: int) -> InvalidInput:
    """Return an error about ``input[i]`` of a chunk as one of the whole, which counts on."""
    named = re.match(r"input\[(\d+)\]", error.field)
    if named is None or first == 0:
        return error
    return error.with_field(f"input[{first + int(named[1])}]{error.field[named.end() :]}")
