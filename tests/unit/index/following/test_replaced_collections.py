"""While collections are replaced through one replica, reads through others see whole collections.

``TEST_FOLLOWS`` scales the number of replacements.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np

from embedder.core.errors import InvalidVector, UnknownCollection
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.points import Points, Query
from embedder.index.vector_index import VectorIndex
from tests.unit.index.reembedding.steps import NEW_SPEC, complete
from tests.unit.index.small_index import ALL_FIELDS

REPLACEMENTS = int(os.environ.get("TEST_FOLLOWS", "120")) // 10
SIZE = 40

Open = Callable[[], VectorIndex]


class Replacements:
    """Replaces collection "c" again and again; ``newest`` is the number of the last one.

    The texts of a collection state its number. Each has ids and a width of its own.
    """

    def __init__(self, index: VectorIndex, folder: Path) -> None:
        self.newest = 0
        self.is_done = False
        self._index = index
        self._folder = folder

    def run(self) -> None:
        """Replace the collection in each way in turn."""
        try:
            for number in range(1, REPLACEMENTS + 1):
                (self._create_again, self._restore, self._reembed)[number % 3](number)
                self.newest = number
        finally:
            self.is_done = True

    def _create_again(self, number: int) -> None:
        self._index.delete("c")
        self._index.upsert("c", _points(number))

    def _restore(self, number: int) -> None:
        name, folder = f"copied-{number}", self._folder / str(number)
        self._index.upsert(name, _points(number))
        self._index.back_up(name, folder)
        self._index.delete(name)
        self._index.restore(folder, "c", None, True)

    def _reembed(self, number: int) -> None:
        self._create_again(number)
        complete(self._index, spec=replace(NEW_SPEC, identity=f"draft {number}"))


def _points(number: int) -> Points:
    width = 2 + number % 3
    rows = np.random.default_rng(number).normal(size=(SIZE, width)).astype(np.float32)
    ids = [f"{number}-{row}" for row in range(SIZE)]
    return Points(ids, rows, [str(number)] * SIZE, [{"n": number}] * SIZE)


def _read(index: VectorIndex, width: int, way: int) -> list[str | None]:
    """Return the texts of all points, read in one of several ways."""
    if way == 0:
        return [one.text for one in index.scroll("c", None, 1000, None, ALL_FIELDS).records]
    condition = parse({"n": {"$gte": 0}}) if way == 1 else None
    query = Query("c", np.ones(width, np.float32), 999, filter=condition, include=ALL_FIELDS)
    return [hit.text for hit in index.search([query])[0]]


def _watch(index: VectorIndex, replacements: Replacements) -> int:
    """Read until the last replacement, and return how many reads found a collection."""
    found = 0
    for turn in count():
        if replacements.is_done:
            return found
        newest = replacements.newest
        try:
            width = index.describe("c").width
            if width is None:
                continue
            texts = _read(index, width, turn % 3)
        except (UnknownCollection, InvalidVector):
            continue  # deleted, or replaced by one of another width
        assert len(set(texts)) == 1
        assert len(texts) == SIZE
        assert int(str(texts[0])) >= newest
        found += 1
    raise AssertionError


def test_reads_see_one_whole_collection(replica: Open, tmp_path: Path) -> None:
    replicas = [replica() for _ in range(3)]
    replicas[0].upsert("c", _points(0))
    replacements = Replacements(replicas[0], tmp_path)
    with ThreadPoolExecutor(3) as threads:
        watching = [threads.submit(_watch, index, replacements) for index in replicas[1:]]
        threads.submit(replacements.run).result()
        assert sum(future.result() for future in watching)

    for index in replicas:
        assert index.stats().status == "ready"
        assert [one.name for one in index.collections()] == ["c"]
        assert index.count("c") == SIZE
