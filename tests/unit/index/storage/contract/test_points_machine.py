"""A store holds exactly the points of a model of dictionaries, in every way to read them."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.points import Spec
from embedder.index.contract.response_budget import ResponseBudget
from embedder.index.storage.reader import Snapshot
from embedder.index.storage.records import CollectionRow
from tests.unit.examples import TIMES
from tests.unit.index.contract.filter_oracle import matches
from tests.unit.index.contract.filter_strategies import METADATA, TEXTS, filters
from tests.unit.index.hostile_strings import HOSTILE_IDS, IDS
from tests.unit.index.storage.contract.stores import STORES, Opener, commit, rows_of
from tests.unit.index.texts.text_oracle import check_index

MEMORY = Path("/dev/shm")
"""A file system without the cost of fsync."""

EXAMPLES = {"sqlite": 20, "postgres": 4}
"""Fewer for a store that waits for a server some twenty times in each step."""

PHASES = [phase for phase in Phase if phase != Phase.shrink or TIMES > 1]
"""Shrinking a failure takes minutes, and only a run of many examples may last that long."""

FEW_IDS = st.sampled_from(HOSTILE_IDS[:12])
CONTENTS = st.tuples(
    st.none() | TEXTS,
    METADATA,
    st.tuples(*[st.floats(-1e9, 1e9, width=32)] * 2),
)
SOME = st.dictionaries(FEW_IDS | IDS, CONTENTS, min_size=1, max_size=4)
BUDGET = ResponseBudget(("text", "metadata"))


@dataclass
class Stored:
    """A point of the model."""

    pk: int
    seq: int
    text: str | None
    metadata: dict[str, Any]
    vector: tuple[float, ...]


@dataclass
class Model:
    """The points of a collection in the order of their insertion."""

    points: dict[str, Stored] = field(default_factory=dict)
    sequence: int = 0
    largest_pk: int = 0

    def matching(self, written: dict[str, Any]) -> list[Stored]:
        """Return the points that meet a filter."""
        return [one for one in self.points.values() if matches(written, one.metadata)]


class PointsMachine(RuleBasedStateMachine):
    """Writes points to a collection of a store and to a model, beside an unchanged collection."""

    store_name: str

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.opener = Opener(self.store_name, self.folder)
        self.model = Model()
        own = commit(self.opener.store, lambda rows: rows.insert_collection("c", Spec()))
        self.number = own.id
        commit(self.opener.store, lambda rows: rows.insert_collection("other", Spec()))
        self.others = ["a", "a\0", "only here"]
        commit(
            self.opener.store, lambda rows: rows.upsert(_row(rows, "other"), rows_of(self.others))
        )

    def teardown(self) -> None:
        self.opener.close()
        shutil.rmtree(self.folder)

    @initialize(some=SOME)
    def begin(self, some: dict[str, Any]) -> None:
        self.put(some)

    @rule(some=SOME)
    def put(self, some: dict[str, Any]) -> None:
        texts, metadata, vectors = (list(column) for column in zip(*some.values(), strict=True))
        rows = rows_of(list(some), np.array(vectors, np.float32), texts, metadata)
        pks, row = commit(self.opener.store, lambda write: write.upsert(_row(write, "c"), rows))
        model = self.model
        model.sequence += 1
        for name, pk, one in zip(some, pks.tolist(), some.values(), strict=True):
            known = model.points.get(name)
            assert pk == known.pk if known else pk > model.largest_pk
            # As a client reads it: an integer beyond 64 bits is a double.
            kept = orjson.loads(orjson.dumps(one[1]))
            model.points[name] = Stored(pk, model.sequence, one[0], kept, one[2])
        model.largest_pk = max(model.largest_pk, *pks.tolist())
        assert (row.sequence, row.count) == (model.sequence, len(model.points))

    @rule(ids=st.lists(FEW_IDS | IDS, unique=True, max_size=6))
    def delete(self, ids: list[str]) -> None:
        expected = sorted(self.model.points[one].pk for one in ids if one in self.model.points)
        found = commit(self.opener.store, lambda rows: rows.find_pks(_row(rows, "c").id, ids))
        assert found == expected
        self._delete(found)

    @rule(data=st.data())
    def delete_matching(self, data: st.DataObject) -> None:
        written = data.draw(self._filters())
        found = commit(
            self.opener.store,
            lambda rows: rows.matching_pks(_row(rows, "c").id, parse(written)),
        )
        assert found == [one.pk for one in self.model.matching(written)]
        self._delete(found)

    @rule()
    def reopen(self) -> None:
        self.opener.reopen()

    @rule(data=st.data())
    def read_matching(self, data: st.DataObject) -> None:
        reader, number = self.opener.store.reader, self.number
        written = data.draw(st.just({}) | self._filters())
        after = data.draw(st.sampled_from([-1, *(one.seq for one in self.model.points.values())]))
        condition, expected = parse(written), self.model.matching(written)
        pairs, sequence = reader.matching(number, condition, after)
        page, more = reader.page(number, 0, 2, condition, BUDGET)

        assert reader.count(number, condition) == len(expected)
        assert pairs.tolist() == [[one.pk, one.seq] for one in expected if one.seq > after]
        assert sequence == self.model.sequence
        assert [one.pk for one in page] == [one.pk for one in expected[:2]]
        assert more == (len(expected) > 2)

    @rule(data=st.data())
    def read_chosen(self, data: st.DataObject) -> None:
        reader, number = self.opener.store.reader, self.number
        known = list(self.model.points)
        ids = data.draw(st.lists(st.sampled_from(known) if known else IDS, unique=True))
        ids += data.draw(st.lists(IDS.filter(lambda one: one not in known), unique=True))
        pks = [self.model.points[one].pk for one in ids if one in self.model.points]
        pairs, names, vectors = reader.vectors(number, np.array(pks, np.int64), 2)
        found = {one.id: one for one in reader.by_ids(number, ids, BUDGET)}

        assert pairs[:, 0].tolist() == pks
        assert names == [one for one in ids if one in known]
        assert vectors.tolist() == [list(self.model.points[one].vector) for one in names]
        assert found.keys() == set(names)
        assert reader.payloads(number, [*pks, self.model.largest_pk + 1], BUDGET) == {
            one.pk: one for one in found.values()
        }

    @invariant()
    def everything_is_stored(self) -> None:
        reader, points = self.opener.store.reader, self.model.points
        with reader.snapshot() as snapshot:
            row, other = _row(snapshot, "c"), _row(snapshot, "other")
            chunks, others = list(snapshot.scan(row)), list(snapshot.scan(other))
        page, more = reader.page(row.id, 0, 1000, None, BUDGET)

        assert (row.sequence, row.count) == (self.model.sequence, len(points))
        assert reader.pairs(row.id).tolist() == [[one.pk, one.seq] for one in points.values()]
        assert [name for chunk in chunks for name in chunk.ids] == list(points)
        assert [vector for chunk in chunks for vector in chunk.vectors.tolist()] == [
            list(one.vector) for one in points.values()
        ]
        assert not more
        assert [
            (one.id, one.pk, one.seq, one.text, orjson.loads(one.metadata)) for one in page
        ] == [(name, one.pk, one.seq, one.text, one.metadata) for name, one in points.items()]
        assert [name for chunk in others for name in chunk.ids] == self.others

    @invariant()
    def all_texts_are_indexed(self) -> None:
        texts = {one.pk: one.text for one in self.model.points.values()}
        check_index(self.opener.store.reader, self.number, texts)

    def _delete(self, pks: list[int]) -> None:
        row = commit(self.opener.store, lambda rows: rows.delete(_row(rows, "c"), pks))
        self.model.sequence += bool(pks)
        self.model.points = {
            name: one for name, one in self.model.points.items() if one.pk not in pks
        }
        assert (row.sequence, row.count) == (self.model.sequence, len(self.model.points))

    def _filters(self) -> st.SearchStrategy[dict[str, Any]]:
        """Return filters that often match stored points."""
        some = [one.metadata for one in self.model.points.values()]
        return st.sampled_from(some or [{}]).flatmap(filters)


def _row(rows: Snapshot, name: str) -> CollectionRow:
    row = rows.find_collection(name)
    assert row is not None
    return row


@pytest.mark.hypothesis
@pytest.mark.parametrize("name", STORES)
def test_a_store_holds_exactly_the_points_of_the_model(name: str) -> None:
    class Machine(PointsMachine):
        store_name = name

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES[name] * TIMES,
            stateful_step_count=20,
            phases=PHASES,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
