"""The finished parts of a run, from which a later run continues.

A part is a file with the results of a fixed number of rows. It is complete if it exists, because it
gets its name only when it is on the disk. It has a digest of its rows, so that a run over another
input is refused and never mixed with the first.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson

from deployments.commands.embed.input_rows import InputRow
from embedder.core.errors import ConfigurationError
from embedder.core.types import Vectors
from embedder.index.storage.disk.atomic_files import write_atomically


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The results of some rows: a vector and the kept fields for each row that has one.

    ``numbers`` int64[n] are those of the rows in the input, from 0, and ``failures`` the rows
    without a vector, each with its number, the reason and its fields.
    """

    vectors: Vectors
    numbers: np.ndarray[Any, np.dtype[np.int64]]
    fields: Sequence[Mapping[str, Any]]
    failures: Sequence[Mapping[str, Any]]


class Parts:
    """The parts of a run in a directory, which one process at a time may write.

    ``run`` describes the run: its model, its options and the size of a part.

    Raises:
        ConfigurationError: another process writes there, or the parts are of another run.
    """

    def __init__(self, directory: Path, run: Mapping[str, Any]) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._lock = (directory / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._check(run)
        except BlockingIOError:
            self.close()
            raise ConfigurationError(f"another process writes to {directory}") from None
        except ConfigurationError:
            self.close()
            raise

    def has(self, number: int, rows: Sequence[InputRow]) -> bool:
        """Return whether the part of these rows is complete.

        Raises:
            ConfigurationError: the part is that of other rows.
        """
        path = self._path(number)
        if not path.exists():
            return False
        with np.load(path, allow_pickle=False) as stored:
            if stored["digest"].tobytes() != _digest(rows):
                raise ConfigurationError(
                    f"the input differs from that of the run which {self._directory} continues; "
                    "restart it (--restart), or name another output"
                )
        return True

    def save(self, number: int, rows: Sequence[InputRow], part: Part) -> None:
        """Write a part to the disk."""
        content: dict[str, np.ndarray[Any, Any]] = {
            "vectors": part.vectors,
            "numbers": part.numbers,
            "fields": _bytes(part.fields),
            "failures": _bytes(part.failures),
            "digest": np.frombuffer(_digest(rows), np.uint8),
        }

        def write(file: BinaryIO) -> None:
            np.savez(file, allow_pickle=False, **content)

        write_atomically(self._path(number), write)

    def load(self, count: int) -> Iterator[Part]:
        """Yield the first ``count`` parts in order."""
        for number in range(count):
            with np.load(self._path(number), allow_pickle=False) as stored:
                yield Part(
                    stored["vectors"],
                    stored["numbers"],
                    orjson.loads(stored["fields"].tobytes()),
                    orjson.loads(stored["failures"].tobytes()),
                )

    def delete(self) -> None:
        """Delete the directory with all parts, once their output is complete."""
        shutil.rmtree(self._directory)

    def close(self) -> None:
        """Let another process write."""
        self._lock.close()

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:07}.npz"

    def _check(self, run: Mapping[str, Any]) -> None:
        path = self._directory / "run.json"
        if not path.exists():
            content = orjson.dumps(run, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2)
            write_atomically(path, lambda file: file.write(content))
            return
        stored = orjson.loads(path.read_bytes())
        changed = [name for name in sorted({*stored, *run}) if stored.get(name) != run.get(name)]
        if changed:
            values = ", ".join(
                f"{one}: {stored.get(one)!r}, now {run.get(one)!r}" for one in changed
            )
            raise ConfigurationError(
                f"{self._directory} has the parts of another run ({values}); restart it "
                "(--restart), or name another output"
            )


def delete_parts(directory: Path) -> None:
    """Delete the parts of an earlier run, if there are any."""
    if directory.exists():
        shutil.rmtree(directory)


def _bytes(value: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    # A value that JSON lacks, like a decimal number of Parquet, is kept as its text.
    content = orjson.dumps(list(value), default=str, option=orjson.OPT_NON_STR_KEYS)
    return np.frombuffer(content, np.uint8)


def _digest(rows: Sequence[InputRow]) -> bytes:
    content = orjson.dumps(
        [[row.text, row.problem, dict(row.fields)] for row in rows],
        default=str,
        option=orjson.OPT_NON_STR_KEYS,
    )
    return hashlib.sha256(content).digest()
