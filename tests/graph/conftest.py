"""Fixtures of the tests of a graph in one process."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="package", autouse=True)
def openvino_is_hidden() -> Iterator[None]:
    """Hide the package: two loads of a model may measure another backend as the faster one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "openvino", None)
        yield
