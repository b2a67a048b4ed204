"""After any sequence of operations, an index answers as a dict searched by brute force.

Thresholds are tiny, so that sealing, merging and saving happen often. A crash is simulated, as
`Place.crashed` says. ``INDEX_MACHINE_EXAMPLES`` scales the run: 400 examples are
20,000 steps.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from embedder.core.errors import InvalidInput, InvalidVector, NotFound
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import Metric, Points, Query, Spec
from embedder.index.vector_index import VectorIndex
from tests.unit.index.contract.filter_strategies import METADATA, TEXTS, filters
from tests.unit.index.hostile_strings import HOSTILE_IDS, IDS
from tests.unit.index.places import PLACES, Place
from tests.unit.index.reference_index import ReferenceIndex, Stored
from tests.unit.index.small_index import ALL_FIELDS, merge_all, save

STEPS = 50
WIDTH = 3
# Quarters have exact sums in float32, so that equal scores are equal to the last bit.
COMPONENTS = st.integers(-12, 12).map(lambda number: number / 4)
VECTORS = st.lists(COMPONENTS, min_size=WIDTH, max_size=WIDTH).filter(any)
POINT = st.tuples(VECTORS, METADATA, st.none() | TEXTS)
SEEDS = st.integers(0, 2**32 - 1)
MANY_IDS = [*HOSTILE_IDS, *(f"q{number}" for number in range(90 - len(HOSTILE_IDS)))]


class IndexMachine(RuleBasedStateMachine):
    """Apply the same operations to an index and to a model, and compare them at every step."""

    store = "sqlite"

    def __init__(self) -> None:
        super().__init__()
        # In memory if possible: a run makes thousands of fsync calls.
        memory = Path("/dev/shm")
        parent = memory if memory.is_dir() else None
        self.folder = Path(tempfile.mkdtemp(prefix="index-machine-", dir=parent))
        self.folders = 0

    @initialize(metric=st.sampled_from(Metric), kind=st.sampled_from(IndexKind))
    def begin(self, metric: Metric, kind: IndexKind) -> None:
        if metric is Metric.L1 and kind.value.startswith("ivf"):
            kind = IndexKind.FLAT
        self.model = ReferenceIndex(metric, kind)
        self.index = self._open(PLACES[self.store](self._new_folder()))
        self.index.create("c", Spec(metric, kind=kind))

    @rule(stored=st.dictionaries(IDS, POINT, min_size=1, max_size=8))
    def upsert(self, stored: dict[str, Stored]) -> None:
        self._put(stored)

    @rule(seed=SEEDS, count=st.integers(10, 40))
    def upsert_many(self, seed: int, count: int) -> None:
        chance = np.random.default_rng(seed)
        names = chance.permutation(90)[:count].tolist()
        rows = chance.integers(1, 48, (count, WIDTH)) / 4
        stored = dict(zip((MANY_IDS[name] for name in names), rows.tolist(), strict=True))
        self._put({name: (row, {"n": len(name)}, None) for name, row in stored.items()})

    @rule(name=IDS, bad=st.sampled_from([[float("nan")] * WIDTH, [1e38] * WIDTH, [1.0] * 2]))
    def upsert_with_an_invalid_vector(self, name: str, bad: list[float]) -> None:
        rows = np.array([[1.0] * len(bad), bad], np.float32)
        if not self.model.stored and len(bad) != WIDTH:
            return
        with pytest.raises(InvalidVector):
            self.index.upsert("c", Points([name, "other"], rows, [None] * 2, [{}, {}]))

    @rule(names=st.lists(IDS, max_size=6))
    def delete(self, names: list[str]) -> None:
        deleted = self.index.delete_points("c", names)

        assert deleted.count == self.model.delete(names)
        assert deleted.sequence == self.model.sequence

    @rule(data=st.data())
    def delete_matching(self, data: st.DataObject) -> None:
        given = data.draw(self._filters())
        names = self.model.names(given)

        assert self.index.delete_matching("c", parse(given)).count == self.model.delete(names)

    @rule(
        vector=VECTORS,
        top_k=st.integers(1, 30),
        threshold=st.none() | COMPONENTS | st.sampled_from([1e300, -1e300]),
        data=st.data(),
    )
    def search(
        self, vector: list[float], top_k: int, threshold: float | None, data: st.DataObject
    ) -> None:
        given = data.draw(st.none() | self._filters())
        condition = None if given is None else parse(given)
        given_vector = np.array(vector, np.float32)
        query = Query(
            "c", given_vector, top_k, filter=condition, threshold=threshold, include=ALL_FIELDS
        )
        self.model.check(query, self.index.search([query])[0], given)

    @rule(name=IDS, top_k=st.integers(1, 9))
    def search_by_id(self, name: str, top_k: int) -> None:
        query = Query("c", None, top_k, id=name)
        if name not in self.model.stored:
            with pytest.raises(NotFound):
                self.index.search([query])
            return
        self.model.check(query, self.index.search([query])[0])

    @rule(limit=st.integers(1, 20), data=st.data())
    def scroll(self, limit: int, data: st.DataObject) -> None:
        given = data.draw(st.none() | self._filters())
        condition = None if given is None else parse(given)
        seen, cursor = [], None
        while True:
            page = self.index.scroll("c", cursor, limit, condition)
            seen += [record.id for record in page.records]
            cursor = page.cursor
            if cursor is None:
                break
        expected = self.model.names(given)

        assert seen == expected
        assert self.index.count("c", condition) == len(expected)

    @rule(names=st.lists(IDS, min_size=1, max_size=5))
    def fetch(self, names: list[str]) -> None:
        records, stored = self.index.fetch("c", names, ALL_FIELDS), self.model.stored

        assert [one.id for one in records] == [one for one in dict.fromkeys(names) if one in stored]
        for one in records:
            assert one.vector is not None
            assert (one.vector.tolist(), one.metadata, one.text) == stored[one.id]

    @rule()
    def settle(self) -> None:
        self.index.run_maintenance()

    @rule()
    def optimize(self) -> None:
        merge_all(self.index, "c")

        assert self.index.describe("c").segments <= 1
        assert self.index.describe("c").deleted == 0

    @rule()
    def snapshot(self) -> None:
        save(self.index, "c")

    @rule()
    def restart(self) -> None:
        self.index.close()
        self.index = self._open(self.place)

    @rule()
    def copy(self) -> None:
        folder = self._new_folder()
        self.index.back_up("c", folder)
        self.index.restore(folder, "copy")
        originals = self.index.scroll("c", None, 1000, None, ALL_FIELDS)
        copies = self.index.scroll("copy", None, 1000, None, ALL_FIELDS)
        self.index.delete("copy")

        assert [one.id for one in originals.records] == list(self.model.stored)
        assert [repr(one) for one in copies.records] == [repr(one) for one in originals.records]

    @rule()
    def crash(self) -> None:
        copy = self.place.crashed(self.index, self._new_folder())
        self.index.close()
        self.index = self._open(copy)

        assert self.index.stats().recovery.was_clean == (self.store == "postgres")

    @precondition(lambda self: len(self.model.stored) > 20)
    @rule()
    def recreate(self) -> None:
        self.index.delete("c")
        with pytest.raises(InvalidInput):
            self.index.describe("c")
        self.index.create("c", Spec(self.model.metric, kind=self.model.kind))
        self.model = ReferenceIndex(self.model.metric, self.model.kind)

    @invariant()
    def counts_and_sequences_are_equal(self) -> None:
        info = self.index.describe("c")

        assert (info.count, info.sequence) == (len(self.model.stored), self.model.sequence)

    def teardown(self) -> None:
        if hasattr(self, "index"):
            self.index.close()
            self.place.discard()
        shutil.rmtree(self.folder)

    def _filters(self) -> st.SearchStrategy[dict[str, Any]]:
        """Return filters that often match stored points."""
        some = [metadata for _, metadata, _ in self.model.stored.values()]
        return st.sampled_from(some or [{}]).flatmap(filters)

    def _put(self, stored: dict[str, Stored]) -> None:
        vectors, metadata, texts = zip(*stored.values(), strict=True)
        rows = np.array(vectors, np.float32)
        self.model.put(stored)

        sequence = self.index.upsert("c", Points(list(stored), rows, texts, metadata))
        assert sequence == self.model.sequence

    def _open(self, place: Place) -> VectorIndex:
        self.place = place
        return VectorIndex(place.settings(recovery_s=0.01), background=False)

    def _new_folder(self) -> Path:
        self.folders += 1
        return self.folder / f"{self.folders - 1}"


def scaled(examples: int) -> settings:
    """Return the settings of a machine, with this number of examples in a short run."""
    return settings(
        max_examples=int(os.environ.get("INDEX_MACHINE_EXAMPLES", examples)),
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


TestIndexMachine = IndexMachine.TestCase
TestIndexMachine.settings = scaled(15)
