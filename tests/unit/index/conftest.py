"""Runs tests of the index over its stores.

Those marked ``every_store`` run over each store on request, those of one module always, and all
others over SQLite. ``TEST_STORE=postgres`` runs all over PostgreSQL but those that concern SQLite's
files, marked ``sqlite``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.unit.index.stores import STORES, TESTED

ONLY = os.environ.get("TEST_STORE")

ALWAYS = "tests.unit.index.test_vector_index"
"""The module whose tests run over each store without a request."""

OF_FILES = ("tests.unit.index.objects", "tests.unit.index.storage.sqlite")
"""Tests of SQLite, and tests whose replicas are copies of a file of it."""

OWN_STORE = {"store", "place"}
"""The parameters of tests that choose their stores themselves."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize a test by the stores that it runs over."""
    marked = {mark.name for mark in metafunc.definition.iter_markers()}
    if "sqlite" in marked or metafunc.module.__name__.startswith(OF_FILES):
        return
    if OWN_STORE & set(metafunc.fixturenames):
        return
    if ONLY is not None:
        metafunc.parametrize("tested_store", [ONLY], indirect=True, scope="module")
    elif "every_store" in marked and metafunc.module.__name__ == ALWAYS:
        metafunc.parametrize("tested_store", STORES, indirect=True, scope="module")


@pytest.fixture(scope="module", autouse=True)
def tested_store(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let `small_settings` name the store of the test."""
    TESTED.name = getattr(request, "param", "sqlite")
    yield
    TESTED.forget()
    TESTED.name = "sqlite"
