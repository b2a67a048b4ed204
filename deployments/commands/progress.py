"""A progress bar, which is drawn only on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bar(total: int | None, unit: str) -> Iterator[Callable[[int], object]]:
    """Draw a bar, without an end if ``total`` is None; yield a function that adds progress."""
    from tqdm import tqdm

    with tqdm(total=total, unit=unit, disable=None, dynamic_ncols=True) as drawn:
        yield drawn.update
