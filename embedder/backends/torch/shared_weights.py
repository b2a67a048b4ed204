"""Weights that all processes of a node share: converted once, stored in a file, memory-mapped.

A further process needs no memory for tensors that are used in place; a kernel that reorders a
tensor needs its own copy. The model's own files are not mapped, because they may be changed while
the model is served.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

from embedder.backends.checkpoint import Checkpoint, read_tensors
from embedder.backends.derived_files import derived_file
from embedder.core.errors import ConfigurationError

if TYPE_CHECKING:
    # The GPU benchmark runs where pydantic is not installed.
    from embedder.models.files import ModelFiles

logger = logging.getLogger(__name__)

NAME = "weights.safetensors"

_CPU = torch.device("cpu")


def open_weights(
    files: ModelFiles, *, dtype: torch.dtype, device: torch.device, shared_in: Path | None = None
) -> Checkpoint:
    """Open a model's weights: on a CPU shared through the folder ``shared_in`` if it is given.

    If the folder is not writable, log a warning and share nothing.

    Raises:
        UnsupportedModel: a file is damaged, or no file holds a text encoder.
    """
    if shared_in is not None and device == _CPU:
        try:
            return _shared(files, dtype, shared_in)
        except ConfigurationError as error:
            logger.warning("%s: weights are not shared between processes: %s", files.name, error)
    return Checkpoint.open(files.weights, dtype=dtype, device=device)


def _shared(files: ModelFiles, dtype: torch.dtype, folder: Path) -> Checkpoint:
    parts = "\n".join((str(dtype), files.digest))
    key = hashlib.sha256(parts.encode()).hexdigest()[:32]
    path = derived_file(folder, key, NAME, partial(_convert, files.weights, dtype))
    return replace(Checkpoint.open([path], dtype=dtype, device=_CPU), copies=False)


def _convert(paths: Sequence[Path], dtype: torch.dtype, folder: Path) -> None:
    """Write all floating-point tensors of the files in one format; integer ones are no weights."""
    converted = {
        name: tensor.to(dtype, copy=True)
        for name, tensor in read_tensors(paths).items()
        if tensor.is_floating_point()
    }
    save_file(converted, folder / NAME)
