"""The rows of an input file: lines of text, JSON lines, CSV or Parquet.

A row without a text is no error of the file: it is a row with a problem, which the run reports.
"""

from __future__ import annotations

import csv
import gzip
import io
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast, get_args

import orjson

from embedder.core.errors import InvalidInput, MissingExtra

InputFormat = Literal["text", "jsonl", "csv", "parquet"]

BATCH = 1024
"""Rows of a Parquet file that are read at a time."""

_SUFFIXES: Mapping[str, InputFormat] = {
    ".txt": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
}


@dataclass(frozen=True, slots=True)
class InputRow:
    """A row of the input: its fields, and its text or the problem that it has none."""

    fields: Mapping[str, Any]
    text: str = ""
    problem: str = ""


class InputFile:
    """The rows of a file, whose suffix names its format (.gz after it: compressed); ``-`` is stdin.

    ``column`` is the field that has the text; a line of text is the field itself.

    Raises:
        InvalidInput: the format is not known.
    """

    def __init__(self, path: Path, format: InputFormat | None = None, column: str = "text") -> None:
        self.path = path
        self.column = column
        self.format = format or _format_of(path)
        self._opened: BinaryIO | None = None
        self._size = path.stat().st_size if path.is_file() else 0

    @property
    def fraction(self) -> float | None:
        """Return the part of the file that has been read, None if its size is not known."""
        if self._opened is None or not self._size:
            return None
        return min(1.0, self._opened.tell() / self._size)

    def rows(self) -> Iterator[InputRow]:
        """Yield every row in order.

        Raises:
            InvalidInput: the file cannot be read, or has no such column.
        """
        try:
            with ExitStack() as stack:
                if str(self.path) == "-":
                    raw: BinaryIO = sys.stdin.buffer
                else:
                    raw = stack.enter_context(self.path.open("rb"))
                self._opened = raw if raw.seekable() else None
                if self.path.suffix == ".gz":
                    raw = cast(BinaryIO, stack.enter_context(gzip.open(raw)))
                for fields in _READERS[self.format](raw):
                    yield self._row(fields)
                self._opened = None
        except (OSError, EOFError, UnicodeDecodeError, zlib.error, csv.Error) as error:
            raise InvalidInput("file", f"{self.path} cannot be read: {error}") from None

    def _row(self, fields: Any) -> InputRow:
        if not isinstance(fields, Mapping):
            return InputRow({}, problem=f"is {type(fields).__name__}; a row must be an object")
        if _BROKEN in fields:
            return InputRow({}, problem=f"is not JSON: {fields[_BROKEN]}")
        text = fields.get(self.column)
        if isinstance(text, str) and text:
            return InputRow(fields, text)
        if self.column not in fields:
            known = ", ".join(map(repr, fields)) or "none"
            return InputRow(fields, problem=f"has no field {self.column!r}; its fields: {known}")
        kind = "empty" if text == "" else f"of type {type(text).__name__}"
        return InputRow(fields, problem=f"has a field {self.column!r} that is {kind}")


_BROKEN = "\0broken"
"""The field of a line that is not JSON; JSON of a file could only have it on purpose."""


def _lines(file: BinaryIO) -> Iterator[str]:
    # This encoding skips U+FEFF, with which some editors begin a file.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="\n")
    try:
        for line in text:
            yield line.rstrip("\r\n")
    finally:
        text.detach()


def _read_text(file: BinaryIO) -> Iterator[Any]:
    for line in _lines(file):
        yield {"text": line}


def _read_jsonl(file: BinaryIO) -> Iterator[Any]:
    for line in _lines(file):
        if line.strip():
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError as error:
                yield {_BROKEN: str(error)}


def _read_csv(file: BinaryIO) -> Iterator[Any]:
    csv.field_size_limit(sys.maxsize)
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        yield from csv.DictReader(text, restkey="", strict=True)
    finally:
        text.detach()


def _read_parquet(file: BinaryIO) -> Iterator[Any]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra("a Parquet file", "pyarrow", "parquet") from None
    if not file.seekable():
        raise InvalidInput("file", "is Parquet, which cannot be read from a pipe")
    for batch in parquet.ParquetFile(file).iter_batches(BATCH):
        yield from batch.to_pylist()


_READERS: Mapping[InputFormat, Callable[[BinaryIO], Iterable[Any]]] = {
    "text": _read_text,
    "jsonl": _read_jsonl,
    "csv": _read_csv,
    "parquet": _read_parquet,
}


def _format_of(path: Path) -> InputFormat:
    if str(path) == "-":
        return "text"
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if suffix.lower() not in _SUFFIXES:
        known = ", ".join(get_args(InputFormat))
        raise InvalidInput("file", f"{path} has no suffix of a known format; name one: {known}")
    return _SUFFIXES[suffix.lower()]
