"""The format of cache archives: a manifest, and parts as safetensors files."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from embedder.cache.key_table import keys_of
from embedder.cache.store.records import KEY_BYTES, TAG_BYTES, Records
from embedder.core.entries.blobs import RAGGED
from embedder.core.entries.entries import Entries
from embedder.core.errors import ArchiveError

MANIFEST = "manifest.json"
PART_BYTES = 32 * 2**20
"""Size at which a part is written; it may grow to twice as much."""

MAX_PART_BYTES = 2 * PART_BYTES + 2**20
FIXED_BYTES = KEY_BYTES + 4 + 1 + 8
"""Bytes of an entry in a part beside its vector."""

MAX_WIDTH = 65_536


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ArchivedModel(_Frozen):
    """A model whose vectors an archive may hold; ``tag`` is the prefix of their keys, in hex."""

    tag: str = Field(pattern=rf"^[0-9a-f]{{{2 * TAG_BYTES}}}$")
    name: str
    repository: str
    revision: str
    dtype: str
    width: int = Field(ge=1, le=MAX_WIDTH)


class Part(_Frozen):
    """One file of an archive, with the checksum and size of its content.

    ``width`` is 0 if the rows have different lengths, which archives of format 1 do not have.
    """

    name: str = Field(pattern=r"^entries-\d{5}\.safetensors$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=1, le=MAX_PART_BYTES)
    count: int = Field(ge=1)
    width: int = Field(ge=0, le=MAX_WIDTH)


class Manifest(_Frozen):
    """The content of an archive; ``created_s`` is the wall clock, from which its entries age."""

    format: Literal[1, 2] = 1
    created_s: float = Field(ge=0, allow_inf_nan=False)
    count: int = Field(ge=0)
    models: tuple[ArchivedModel, ...] = Field(max_length=10_000)
    parts: tuple[Part, ...] = Field(max_length=100_000)


def decode_manifest(content: bytes) -> Manifest:
    """Return the manifest.

    Raises:
        ArchiveError: the content is not a manifest of this format.
    """
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        if where == "format":
            raise ArchiveError(
                MANIFEST, f"has format {problem['input']!r}; this version reads formats 1 and 2"
            ) from None
        raise ArchiveError(MANIFEST, f"is not a manifest: {where} {problem['msg']}") from None


def encode_part(records: Records) -> bytes:
    """Return the content of a part."""
    entries = records.entries
    tensors: dict[str, NDArray[Any]] = {
        "keys": np.frombuffer(b"".join(records.keys), np.uint8).reshape(-1, KEY_BYTES),
        "token_counts": np.ascontiguousarray(entries.token_counts),
        "truncated": np.ascontiguousarray(entries.truncated),
        "lives_s": np.ascontiguousarray(records.ttls_s),
    }
    if records.width != RAGGED:
        return save(tensors | {"vectors": np.ascontiguousarray(entries.vectors)})
    content = np.frombuffer(b"".join(entries.vectors), np.uint8)
    return save(tensors | {"rows": content, "row_bytes": entries.sizes})


def decode_part(part: Part, content: bytes) -> Records:
    """Return the records of a part.

    Raises:
        ArchiveError: the content is not that of the part.
    """
    try:
        tensors = load(content)
    except (SafetensorError, ValueError) as error:
        raise ArchiveError(part.name, f"is not a safetensors file: {error}") from None
    shapes = {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
    count = part.count
    expected: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
        "keys": (np.dtype(np.uint8), (count, KEY_BYTES)),
        "token_counts": (np.dtype(np.int32), (count,)),
        "truncated": (np.dtype(np.bool_), (count,)),
        "lives_s": (np.dtype(np.float64), (count,)),
    }
    if part.width != RAGGED:
        expected["vectors"] = (np.dtype(np.float32), (count, part.width))
    else:
        size = int(tensors["row_bytes"].sum()) if "row_bytes" in tensors else 0
        expected["row_bytes"] = (np.dtype(np.int64), (count,))
        expected["rows"] = (np.dtype(np.uint8), (size,))
    if shapes != expected:
        raise ArchiveError(part.name, "has other arrays than the manifest says")
    if not (tensors["lives_s"] >= 0).all():
        raise ArchiveError(part.name, "has an entry with a negative time to live")
    keys = keys_of(tensors["keys"].view(np.uint64))
    vectors = _vectors(part, tensors)
    return Records(
        keys, Entries(vectors, tensors["token_counts"], tensors["truncated"]), tensors["lives_s"]
    )


def _vectors(part: Part, tensors: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Return the vectors of a part, or its rows as bytes."""
    if part.width != RAGGED:
        if not np.isfinite(tensors["vectors"]).all():
            raise ArchiveError(part.name, "has a vector that is not finite")
        return tensors["vectors"]
    sizes, content = tensors["row_bytes"], tensors["rows"].tobytes()
    if (sizes < 0).any() or (sizes % 4).any():
        raise ArchiveError(part.name, "has a row of an impossible size")
    bounds = [0, *np.cumsum(sizes).tolist()]
    rows = np.empty(len(sizes), np.object_)
    rows[:] = [content[start:stop] for start, stop in pairwise(bounds)]
    return rows
