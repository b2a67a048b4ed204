"""The oracle and the table of all rows of a run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.drill.expected import Expected
from tests.drill.figures import HEAD, Figures, line
from tests.drill.rows import SEED
from tests.nodes.conftest import machines

__all__ = ["expected", "machines", "table"]


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Expected:
    """Return texts and their vectors, computed before any service is started."""
    return Expected(SEED, tmp_path_factory.mktemp("expected"))


@pytest.fixture(scope="session")
def table() -> Iterator[list[Figures]]:
    """Yield a list of rows, which is printed at the end."""
    rows: list[Figures] = []
    yield rows
    print("", HEAD, *map(line, rows), sep="\n")
