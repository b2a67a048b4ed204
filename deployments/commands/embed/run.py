"""A run over a file: embeds its rows in parts, then writes the output.

An interrupted run loses the parts in work. The next run of the same command reads the input again,
skips the rows of the finished parts, and gives the output of an uninterrupted run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

from deployments.commands.embed.embedding import Embed, embed_rows
from deployments.commands.embed.input_rows import InputFile, InputRow
from deployments.commands.embed.outputs import check_output, write_failures, write_output
from deployments.commands.embed.parts import Part, Parts, delete_parts
from embedder.core.errors import InvalidInput
from embedder.index.storage.disk.atomic_files import write_atomically

IN_WORK = 2
"""Parts in work at the same time, so that the model has texts while a part is written."""

Report = Callable[[int, float | None, bool], None]
"""Called with the number of rows of a finished part, the fraction of the input that has been read,
and whether an earlier run has computed the part."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a run writes, and how.

    ``description`` has what makes the output of another run different: the model and the options of
    embeddings. ``kept`` are the fields of the input that the output has; None: all.
    """

    output: Path
    description: Mapping[str, Any]
    kept: Sequence[str] | None = None
    part_rows: int = 4096
    restart: bool = False
    overwrite: bool = False

    @property
    def parts(self) -> Path:
        """Return the directory of the finished parts, which the end of the run deletes."""
        return self.output.with_name(self.output.name + ".parts")

    @property
    def failures(self) -> Path:
        """Return the file of the rows that have no vector."""
        return self.output.with_name(self.output.name + ".failed.jsonl")


@dataclass(frozen=True, slots=True)
class RunResult:
    """The rows that have a vector, those that have none, and those of earlier runs."""

    rows: int
    failed: int
    resumed: int


def check_run(options: RunOptions) -> None:
    """Check the output before a model is loaded.

    Raises:
        InvalidInput: the output exists, or has no known suffix.
        MissingExtra: its format needs a package that is not installed.
    """
    check_output(options.output)
    if options.output.exists() and not options.overwrite and not options.parts.exists():
        raise InvalidInput("output", f"{options.output} exists; --overwrite replaces it")


def run(source: InputFile, embed: Embed, options: RunOptions, report: Report) -> RunResult:
    """Embed all rows of a file and write the output.

    Raises:
        ConfigurationError: as `Parts`.
        EmbedderError: the input cannot be read, or the texts cannot be embedded at present; the
            finished parts stay for the next run.
    """
    check_run(options)
    if options.restart:
        delete_parts(options.parts)
    description = {
        **options.description,
        "kept fields": None if options.kept is None else list(options.kept),
        "rows of a part": options.part_rows,
    }
    with closing(Parts(options.parts, description)) as parts:
        total, resumed = _compute(source, embed, options, parts, report)
        rows, failed = _write(options, parts, total)
        parts.delete()
    return RunResult(rows, failed, resumed)


def _compute(
    source: InputFile, embed: Embed, options: RunOptions, parts: Parts, report: Report
) -> tuple[int, int]:
    """Compute all parts that are not complete; return their number, and the rows of the others."""
    rows, resumed = source.rows(), 0
    waiting: deque[tuple[int, list[InputRow], Future[Part]]] = deque()

    def finish() -> None:
        number, of_part, future = waiting.popleft()
        parts.save(number, of_part, future.result())
        report(len(of_part), source.fraction, False)

    with ThreadPoolExecutor(IN_WORK) as threads:
        try:
            for number in count():
                of_part = list(islice(rows, options.part_rows))
                if not of_part:
                    break
                if parts.has(number, of_part):
                    resumed += len(of_part)
                    report(len(of_part), source.fraction, True)
                    continue
                first = number * options.part_rows
                call = threads.submit(embed_rows, embed, of_part, first, options.kept)
                waiting.append((number, of_part, call))
                if len(waiting) == IN_WORK:
                    finish()
            while waiting:
                finish()
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return number, resumed


def _write(options: RunOptions, parts: Parts, count: int) -> tuple[int, int]:
    """Write the output and the failures; return the number of rows of each."""
    rows = failed = 0
    for part in parts.load(count):
        rows, failed = rows + len(part.numbers), failed + len(part.failures)
    write_atomically(
        options.output, lambda file: write_output(options.output, file, lambda: parts.load(count))
    )
    options.failures.unlink(missing_ok=True)
    if failed:
        write_atomically(options.failures, lambda file: write_failures(file, parts.load(count)))
    return rows, failed
