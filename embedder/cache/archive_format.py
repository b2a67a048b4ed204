"""The format of cache archives: a manifest, and parts as safetensors files."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from embedder.cache.key_table import keys_of
from embedder.cache.store.records import KEY_BYTES, TAG_BYTES, Records
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
    """One file of an archive, with the checksum and size of its content."""

    name: str = Field(pattern=r"^entries-\d{5}\.safetensors$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=1, le=MAX_PART_BYTES)
    count: int = Field(ge=1)
    width: int = Field(ge=1, le=MAX_WIDTH)


class Manifest(_Frozen):
    """The content of an archive; ``created_s`` is the wall clock, from which its entries age."""

    format: Literal[1] = 1
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
                MANIFEST, f"has format {problem['input']!r}; this version reads format 1"
            ) from None
        raise ArchiveError(MANIFEST, f"is not a manifest: {where} {problem['msg']}") from None


def encode_part(records: Records) -> bytes:
    """Return the content of a part."""
    return save(
        {
            "keys": np.frombuffer(b"".join(records.keys), np.uint8).reshape(-1, KEY_BYTES),
            "vectors": np.ascontiguousarray(records.entries.vectors),
            "token_counts": np.ascontiguousarray(records.entries.token_counts),
            "truncated": np.ascontiguousarray(records.entries.truncated),
            "lives_s": np.ascontiguousarray(records.ttls_s),
        }
    )


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
    if shapes != {
        "keys": (np.dtype(np.uint8), (count, KEY_BYTES)),
        "vectors": (np.dtype(np.float32), (count, part.width)),
        "token_counts": (np.dtype(np.int32), (count,)),
        "truncated": (np.dtype(np.bool_), (count,)),
        "lives_s": (np.dtype(np.float64), (count,)),
    }:
        raise ArchiveError(part.name, "has other arrays than the manifest says")
    if not np.isfinite(tensors["vectors"]).all():
        raise ArchiveError(part.name, "has a vector that is not finite")
    if not (tensors["lives_s"] >= 0).all():
        raise ArchiveError(part.name, "has an entry with a negative time to live")
    keys = keys_of(tensors["keys"].view(np.uint64))
    entries = Entries(tensors["vectors"], tensors["token_counts"], tensors["truncated"])
    return Records(keys, entries, tensors["lives_s"])
