"""A model's weights in memory that all processes of a node share: converted once, kept, and mapped.

What is computed with as it lies there costs a further process nothing; what a kernel lays out anew
is each one's own. Only kept files are mapped for good: a model's own may be written to while it is
served. Knows nothing of layers.
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
from embedder.backends.derived_files import kept
from embedder.core.errors import ConfigurationError

if TYPE_CHECKING:
    # The forward pass needs nothing that the files of a model need.
    from embedder.models.files import ModelFiles

logger = logging.getLogger(__name__)

NAME = "weights.safetensors"

_CPU = torch.device("cpu")


def open_weights(
    files: ModelFiles, *, dtype: torch.dtype, device: torch.device, shared_in: Path | None = None
) -> Checkpoint:
    """Open a model's weights: shared by way of a folder where one is given, else read for itself.

    A folder that cannot be written to is told in the log, and then nothing is shared.

    Raises:
        UnsupportedModel: a file is damaged, or none holds an encoder of text.
    """
    if shared_in is not None and device == _CPU:
        try:
            return _shared(files, dtype, shared_in)
        except ConfigurationError as error:
            logger.warning("%s: each process holds all weights itself: %s", files.name, error)
    return Checkpoint.open(files.weights, dtype=dtype, device=device)


def _shared(files: ModelFiles, dtype: torch.dtype, folder: Path) -> Checkpoint:
    parts = "\n".join((str(dtype), files.digest))
    key = hashlib.sha256(parts.encode()).hexdigest()[:32]
    path = kept(folder, key, NAME, partial(_convert, files.weights, dtype))
    return replace(Checkpoint.open([path], dtype=dtype, device=_CPU), copies=False)


def _convert(paths: Sequence[Path], dtype: torch.dtype, folder: Path) -> None:
    """Write all numbers of the files in one format; whole numbers are no weights."""
    converted = {
        name: tensor.to(dtype, copy=True)
        for name, tensor in read_tensors(paths).items()
        if tensor.is_floating_point()
    }
    save_file(converted, folder / NAME)
