"""A progress bar on stderr: texts done, texts and tokens per second, remaining time."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import NoReturn

from tqdm import tqdm

from embedder.core.request import Embeddings


class Progress:
    """A bar over ``total`` texts; None: unknown. ``shown`` None draws on a terminal only."""

    def __init__(self, total: int | None, *, shown: bool | None = True) -> None:
        self._tokens = 0
        self._started = time.perf_counter()
        self._bar: tqdm[NoReturn] = tqdm(
            total=total,
            unit=" texts",
            disable=None if shown is None else not shown,
            dynamic_ncols=True,
            smoothing=0.1,
        )

    def add(self, result: Embeddings) -> None:
        """Count the texts and tokens of a result."""
        self._tokens += int(result.token_counts.sum())
        seconds = max(time.perf_counter() - self._started, 1e-9)
        self._bar.set_postfix_str(f"{self._tokens / seconds:,.0f} tokens/s", refresh=False)
        self._bar.update(len(result.token_counts))

    def track(self, results: Iterable[Embeddings]) -> Iterator[Embeddings]:
        """Yield the results, and count each of them."""
        for result in results:
            self.add(result)
            yield result

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
