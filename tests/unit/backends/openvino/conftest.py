"""The tests of a backend that may not be installed."""

from __future__ import annotations

import importlib.util

import pytest


@pytest.fixture(autouse=True)
def openvino_is_hidden() -> None:
    """Show the package, which other unit tests do not see; skip the tests where it is missing."""
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("openvino is not installed: pip install 'embedder[openvino]'")
