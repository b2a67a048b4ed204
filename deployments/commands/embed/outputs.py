"""Writes the vectors of a run as JSON lines, as arrays of numpy or as Parquet.

Each writer reads the parts one after the other, so that its memory does not grow with the run.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson

from deployments.commands.embed.parts import Part
from embedder.core.errors import InvalidInput, MissingExtra

EMBEDDING = "embedding"
"""The field of the output that has the vector."""

ReadParts = Callable[[], Iterator[Part]]
"""Reads all parts from the first one on, each time it is called."""


def suffixes() -> list[str]:
    """Return the suffixes of the formats."""
    return list(_WRITERS)


def check_output(path: Path) -> None:
    """Check the suffix of the output before anything is computed.

    Raises:
        InvalidInput: no format has this suffix.
        MissingExtra: the format needs a package that is not installed.
    """
    if path.suffix not in _WRITERS:
        problem = f"{path} has none of the suffixes {', '.join(_WRITERS)}"
        raise InvalidInput("output", problem)
    if path.suffix == ".parquet":
        _pyarrow()


def write_output(path: Path, file: BinaryIO, parts: ReadParts) -> None:
    """Write all parts in the format of the suffix of ``path``."""
    _WRITERS[path.suffix](file, parts)


def write_failures(file: BinaryIO, parts: Iterable[Part]) -> None:
    """Write a JSON line for each row without a vector: its number, the reason, its fields."""
    for part in parts:
        for failure in part.failures:
            file.write(orjson.dumps(failure) + b"\n")


def _write_jsonl(file: BinaryIO, parts: ReadParts) -> None:
    for part in parts():
        for fields, vector in zip(part.fields, part.vectors, strict=True):
            line = {**fields, EMBEDDING: vector}
            file.write(orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n")


def _write_npy(file: BinaryIO, parts: ReadParts) -> None:
    _write_array(file, (part.vectors for part in parts()), *_shape(parts))


def _write_npz(file: BinaryIO, parts: ReadParts) -> None:
    """Write the arrays "embeddings", and "rows": the number of each row in the input, from 0."""
    count, width = _shape(parts)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        with archive.open("embeddings.npy", "w", force_zip64=True) as member:
            _write_array(member, (part.vectors for part in parts()), count, width)
        numbers = np.concatenate([np.zeros(0, np.int64), *(part.numbers for part in parts())])
        with archive.open("rows.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, numbers, allow_pickle=False)


def _write_parquet(file: BinaryIO, parts: ReadParts) -> None:
    """Write a row group for each part; the vector is a list of floats of a fixed size."""
    pyarrow, parquet = _pyarrow()
    _, width = _shape(parts)
    names: dict[str, None] = {}
    for part in parts():
        for fields in part.fields:
            names |= dict.fromkeys(fields)
    schema = pyarrow.unify_schemas(
        [_table(pyarrow, part, names, width).schema for part in parts()]
        or [_table(pyarrow, _EMPTY, names, width).schema],
        promote_options="permissive",
    )
    with parquet.ParquetWriter(file, schema) as writer:
        for part in parts():
            writer.write_table(_table(pyarrow, part, names, width).cast(schema))


_EMPTY = Part(np.zeros((0, 0), np.float32), np.zeros(0, np.int64), [], [])


def _table(pyarrow: Any, part: Part, names: Iterable[str], width: int) -> Any:
    flat = pyarrow.array(part.vectors.reshape(-1), pyarrow.float32())
    columns = {name: [fields.get(name) for fields in part.fields] for name in names}
    vectors = pyarrow.FixedSizeListArray.from_arrays(flat, max(1, width))
    return pyarrow.table({**columns, EMBEDDING: vectors})


def _write_array(file: Any, rows: Iterable[np.ndarray[Any, Any]], count: int, width: int) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (count, width)}
    np.lib.format.write_array_header_1_0(file, header)
    for vectors in rows:
        file.write(np.ascontiguousarray(vectors, "<f4").tobytes())


def _shape(parts: ReadParts) -> tuple[int, int]:
    """Return the number of vectors, and their width; 0 if there is none."""
    shapes = [part.vectors.shape for part in parts() if len(part.vectors)]
    return sum(count for count, _ in shapes), shapes[0][1] if shapes else 0


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra("a Parquet file", "pyarrow", "parquet") from None
    return pyarrow, parquet


_WRITERS: Mapping[str, Callable[[BinaryIO, ReadParts], None]] = {
    ".jsonl": _write_jsonl,
    ".npy": _write_npy,
    ".npz": _write_npz,
    ".parquet": _write_parquet,
}
