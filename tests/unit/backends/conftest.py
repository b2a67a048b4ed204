"""Tiny models of every architecture, written once per session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch

from tests.tiny_architectures import ARCHITECTURES, write_architecture
from tests.tiny_models import write_tiny_bert

WriteModel = Callable[[str], Path]
"""Return the directory of an architecture's tiny model."""


@pytest.fixture(scope="session")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> WriteModel:
    @cache
    def write(name: str) -> Path:
        return write_architecture(tmp_path_factory.mktemp(name), ARCHITECTURES[name])

    return write


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("tiny-bert"))


@pytest.fixture(autouse=True)
def few_threads() -> Iterator[None]:
    """Use one thread: several make tiny matrices slower on a busy processor."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
