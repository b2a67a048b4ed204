"""The lines of an input file, which may be compressed, or of stdin."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from embedder.core.errors import InvalidInput


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield every line with its number, from 1 on; the path ``-`` means stdin.

    Raises:
        InvalidInput: the file cannot be read.
    """
    try:
        with _opened(path) as lines:
            yield from enumerate(lines, 1)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise InvalidInput("file", f"{path} cannot be read: {error}") from None


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    if str(path) == "-":
        yield sys.stdin
        return
    opened = gzip.open if path.suffix == ".gz" else open
    # This encoding skips U+FEFF, with which some editors begin a file.
    with opened(path, "rt", encoding="utf-8-sig") as file:
        yield file
