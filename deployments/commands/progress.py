"""How far a command is, drawn on a terminal and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bar(total: int | None, unit: str) -> Iterator[Callable[[int], object]]:
    """Draw a bar, of an open end without a ``total``; yield what is told how many more are done."""
    from tqdm import tqdm

    with tqdm(total=total, unit=unit, disable=None, dynamic_ncols=True) as drawn:
        yield drawn.update
