"""Late chunking: the model reads a text as a whole, and then each chunk gets a vector.

The vector of a chunk is the mean of the hidden states of its own tokens, which have seen the text
around them (Günther et al., arXiv 2409.04701). A text above the model's limit is read in windows
that overlap, so that no chunk is without the text before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.chunking.request import Chunk
from embedder.chunking.units import Offsets
from embedder.core.errors import InvalidInput

CONTEXT_SHARE = 4
"""A window begins a quarter of its tokens before its first chunk, unless the text begins there."""


@dataclass(frozen=True, slots=True)
class Window:
    """The tokens ``start`` to ``stop`` of a text, read for its chunks ``first`` to ``end``."""

    start: int
    stop: int
    first: int
    end: int


def spans_of(chunks: Sequence[Chunk], offsets: Offsets, field: str) -> NDArray[np.int64]:
    """Return int64[k, 2], the first token of each chunk and the one after its last.

    ``offsets`` are those of the tokens in the same text, in ascending order. A token belongs to
    each chunk with which it shares a character.

    Raises:
        InvalidInput: a chunk has no tokens; ``field`` is the name of the text.
    """
    ranges = np.array([(chunk.start, chunk.stop) for chunk in chunks], np.int64).reshape(-1, 2)
    first = np.searchsorted(offsets[:, 1], ranges[:, 0], "right")
    end = np.searchsorted(offsets[:, 0], ranges[:, 1], "left")
    if (empty := np.flatnonzero(first >= end)).size:
        chunk = chunks[int(empty[0])]
        place = f"characters {chunk.start} to {chunk.stop}"
        raise InvalidInput(field, f"has a chunk without tokens that the model reads, {place}")
    return np.stack([first, end], axis=1)


def windows(spans: NDArray[np.int64], count: int, room: int) -> Iterator[Window]:
    """Yield windows of at most ``room`` of ``count`` tokens, which have every chunk once, in order.

    Of a chunk with more than ``room`` tokens, its window has the last ones.
    """
    done, chunks = 0, spans.tolist()
    while done < len(chunks):
        first, end = chunks[done]
        before = min(first, room // CONTEXT_SHARE, room - (end - first))
        # The last window has as much text before it as fits.
        start = max(0, min(first - before, count - room))
        stop = min(start + room, count)
        after = next((at for at in range(done, len(chunks)) if chunks[at][1] > stop), len(chunks))
        yield Window(start, stop, done, after)
        done = after
