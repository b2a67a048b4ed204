"""Shared weights give the same vectors, are memory-mapped, and are optional."""

from __future__ import annotations

import logging
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from embedder.backends.torch.backend import TorchBackend
from embedder.backends.torch.shared_weights import NAME, open_weights
from embedder.core.types import TokenBatch
from embedder.settings.model import BackendSettings
from tests.unit.backends.conftest import WriteModel
from tests.unit.backends.parity import hidden_states, open_files

INPUTS = [[5], [6, 7], list(range(40)), [4] * 17]
CPU = torch.device("cpu")
WORDS = "embeddings.word_embeddings.weight"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["bert", "roberta", "mpnet", "distilbert"])
def test_shared_weights_give_identical_vectors(
    name: str, dtype: torch.dtype, model_of: WriteModel, tmp_path: Path
) -> None:
    alone = hidden_states(model_of(name), INPUTS, dtype, None)

    for _ in range(2):  # the first creates the file, the second reuses it
        assert (hidden_states(model_of(name), INPUTS, dtype, tmp_path) == alone).all()
    assert len(list(tmp_path.glob(f"*/{NAME}"))) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/maps")
def test_shared_tensors_are_mapped_from_the_derived_file(tiny: Path, tmp_path: Path) -> None:
    weights = open_weights(open_files(tiny), dtype=torch.bfloat16, device=CPU, shared_in=tmp_path)
    address = weights.tensor(WORDS).data_ptr()
    (path,) = tmp_path.glob(f"*/{NAME}")
    mapped = [
        tuple(int(end, 16) for end in line.split()[0].split("-"))
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith(str(path))
    ]

    assert any(begin <= address < end for begin, end in mapped)


def test_a_change_of_the_models_files_does_not_change_loaded_weights(
    tiny: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(tiny, tmp_path / "model")
    files = open_files(model)
    loaded = [
        open_weights(files, dtype=torch.float32, device=CPU, shared_in=folder).tensor(WORDS)
        for folder in (None, tmp_path / "kept")
    ]
    before = [tensor.clone() for tensor in loaded]
    with (model / "model.safetensors").open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(0)
        file.write(b"\x55" * size)

    for tensor, copy in zip(loaded, before, strict=True):
        assert torch.equal(tensor, copy)


def test_each_model_and_format_has_its_own_file(model_of: WriteModel, tmp_path: Path) -> None:
    for name in ("bert", "distilbert"):
        for dtype in (torch.float32, torch.bfloat16):
            hidden_states(model_of(name), INPUTS, dtype, tmp_path)

    assert len(list(tmp_path.glob(f"*/{NAME}"))) == 4


def test_without_a_writable_folder_weights_are_not_shared_and_a_warning_is_logged(
    tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()

    with caplog.at_level(logging.WARNING):
        found = hidden_states(tiny, INPUTS, torch.float32, tmp_path / "file" / "weights")

    assert (found == hidden_states(tiny, INPUTS, torch.float32, None)).all()
    assert "backend.cache_dir" in caplog.text


@pytest.mark.parametrize(("shared", "files"), [(None, 0), (False, 0), (True, 1)])
@pytest.mark.parametrize("dtype", ["auto", "float32"])
def test_weights_are_shared_only_if_configured(
    tiny: Path, tmp_path: Path, dtype: str, shared: bool | None, files: int
) -> None:
    settings = BackendSettings.model_validate(
        {"device": "cpu", "dtype": dtype, "cache_dir": str(tmp_path), "shared_weights": shared}
    )
    found = TorchBackend.load(open_files(tiny), settings).encode(TokenBatch.of(INPUTS))

    assert np.isfinite(found).all()
    assert len(list(tmp_path.glob(f"*/{NAME}"))) == files
