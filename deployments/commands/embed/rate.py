"""The progress of a run on stderr: rows, rows per second, and the time that remains."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Rate:
    """A bar over the input, which is drawn on a terminal only."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.fields[rows]:,} rows"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("remaining"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._rows = self._computed = 0
        self._task = self._progress.add_task("rows", total=None, rows=0, rate="")
        self._started = time.monotonic()

    def report(self, rows: int, fraction: float | None, resumed: bool) -> None:
        """Add the rows of a part; those of an earlier run do not count for the rate."""
        self._rows += rows
        if resumed:
            self._started = time.monotonic()
        else:
            self._computed += rows
        seconds = max(time.monotonic() - self._started, 1e-9)
        self._progress.update(
            self._task,
            total=None if fraction is None else 1.0,
            completed=fraction or 0.0,
            rows=self._rows,
            rate=f"{self._computed / seconds:,.0f} rows/s" if self._computed else "",
        )

    def __enter__(self) -> Rate:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()
