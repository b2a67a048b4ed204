"""A progress bar for long work: texts done, texts and tokens per second, time to go.

Drawn on stderr by tqdm. Knows nothing of what the work is.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import NoReturn

from tqdm import tqdm

from embedder.core.request import Embeddings


class Progress:
    """A bar over ``total`` texts; None is for streams whose end is not known.

    ``shown`` of None draws on a terminal only.
    """

    def __init__(self, total: int | None, *, shown: bool | None = True) -> None:
        self._tokens = 0
        self._began = time.perf_counter()
        self._bar: tqdm[NoReturn] = tqdm(
            total=total,
            unit=" texts",
            disable=None if shown is None else not shown,
            dynamic_ncols=True,
            smoothing=0.1,
        )

    def add(self, answer: Embeddings) -> None:
        """Count an answer as done."""
        self._tokens += int(answer.token_counts.sum())
        seconds = max(time.perf_counter() - self._began, 1e-9)
        self._bar.set_postfix_str(f"{self._tokens / seconds:,.0f} tokens/s", refresh=False)
        self._bar.update(len(answer.token_counts))

    def over(self, answers: Iterable[Embeddings]) -> Iterator[Embeddings]:
        """Yield the answers and count each as done."""
        for answer in answers:
            self.add(answer)
            yield answer

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.close()
