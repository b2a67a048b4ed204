"""The lines of a file that a command is given, compressed or piped in.

Knows nothing of what they hold.
"""

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
    """Yield the number, from 1 on, and the content of every line; ``-`` is what is piped in.

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
    packed = path.suffix == ".gz"
    # Some editors begin a file with U+FEFF, which is no part of its first line.
    encoding = "utf-8-sig"
    with (
        gzip.open(path, "rt", encoding=encoding) if packed else path.open(encoding=encoding) as file
    ):
        yield file
