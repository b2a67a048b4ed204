"""Stream any number of inputs through a pipeline, in order and in bounded memory.

A few chunks are read ahead, so that the device always has a batch waiting.
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
"""Number of inputs in a chunk: several device batches."""

AHEAD = 3
"""Number of chunks that wait or are computed while the caller reads one."""

Submit = Callable[[list[Input]], "Future[Embeddings]"]


def in_chunks(
    inputs: Iterable[Input], submit: Submit, *, chunk: int = CHUNK, ahead: int = AHEAD
) -> Generator[Embeddings, None, None]:
    """Yield the embeddings of every chunk of ``chunk`` inputs, in order.

    At most ``ahead`` + 1 chunks are in memory. An error of a chunk, or of reading the inputs, is
    raised in place of its embeddings; the row in its field name counts from the first input.
    Pending chunks are cancelled on an error and when the caller stops reading.
    """
    chunks = _submitted(inputs, submit, chunk)
    waiting: deque[_Chunk] = deque()
    try:
        while True:
            waiting.extend(islice(chunks, ahead + 1 - len(waiting)))
            if not waiting:
                return
            # Removed only after it has ended, so that an interruption cancels it.
            embeddings = waiting[0].result()
            waiting.popleft()
            yield embeddings
    finally:
        for pending in waiting:
            pending.future.cancel()


@dataclass(frozen=True, slots=True)
class _Chunk:
    """The future of a chunk, and the row of its first input."""

    future: Future[Embeddings]
    first: int = 0

    def result(self) -> Embeddings:
        try:
            return self.future.result()
        except InvalidInput as error:
            raise renumbered(error, self.first) from None


def _submitted(inputs: Iterable[Input], submit: Submit, size: int) -> Iterator[_Chunk]:
    """Submit and yield chunks of ``size`` inputs; an error of the iterable is a failed chunk."""
    source = iter(inputs)
    for first in count(0, size):
        chunk: list[Input] = []
        failure: Exception | None = None
        try:
            chunk.extend(islice(source, size))
        except Exception as error:  # noqa: BLE001 - raised when the caller reaches this chunk
            failure = error
        if chunk:
            yield _Chunk(submit(chunk), first)
        if failure is not None:
            failed: Future[Embeddings] = Future()
            failed.set_exception(failure)
            yield _Chunk(failed)
        if len(chunk) < size:
            return


def renumbered(error: InvalidInput, first: int) -> InvalidInput:
    """Return an error about ``input[i]`` of a chunk that begins at row ``first`` of the stream."""
    named = re.match(r"input\[(\d+)\]", error.field)
    if named is None or first == 0:
        return error
    return error.with_field(f"input[{first + int(named[1])}]{error.field[named.end() :]}")
