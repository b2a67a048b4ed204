"""Points written during a re-embedding are stored afterwards, in their order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from embedder.index.storage.records import OutdatedPoint
from tests.unit.index.reembedding.steps import (
    NEW_SPEC,
    Texts,
    Vector,
    content,
    expected,
    fill_page,
    new_vector,
    old_vector,
    open_index,
    points_of,
)

_IDS = st.sampled_from(["a", "b", "c", "d", "e", "f"])
_STEP = st.one_of(
    st.tuples(st.just("upsert"), st.dictionaries(_IDS, st.text(max_size=5), min_size=1)),
    st.tuples(st.just("delete"), st.lists(_IDS, min_size=1, max_size=3, unique=True)),
    st.tuples(st.sampled_from(["read", "fill"]), st.none()),
    st.tuples(st.sampled_from(["copy", "restart", "switch", "discard"]), st.none()),
)


class _Run:
    """An index and the expected content: a dict, which keeps texts in the same order."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index = open_index(folder)
        self._texts: Texts = {}
        self._vector: Vector = old_vector
        self._reembedding = 0
        self._read: list[OutdatedPoint] = []
        self.upsert({"a": "first"})

    def upsert(self, texts: Texts) -> None:
        self._index.upsert("c", points_of(texts, self._vector))
        self._texts.update(texts)

    def delete(self, ids: list[str]) -> None:
        self._index.delete_points("c", ids)
        for one in ids:
            self._texts.pop(one, None)

    def restart(self, _: None) -> None:
        self._index.close()
        self._index = open_index(self._folder)

    def begin(self, _: None) -> str:
        if (staged := self._index.staged("c")) is not None:
            return staged.identity
        self._reembedding += 1
        spec = replace(NEW_SPEC, identity=f"draft {self._reembedding}")
        self._read = []
        return self._index.begin_staged("c", self._index.describe("c").identity, spec).identity

    def read(self, _: None) -> None:
        self._read = self._index.outdated("c", self.begin(None), 0)

    def fill(self, _: None) -> None:
        if self._read:
            vectors = np.array([new_vector(one.text) for one in self._read], np.float32)
            self._index.fill_staged("c", self.begin(None), self._read, vectors)

    def copy(self, _: None) -> None:
        self.read(None)
        self.fill(None)

    def discard(self, _: None) -> None:
        self._index.discard_staged("c", self.begin(None))
        self._read = []

    def switch(self, _: None) -> None:
        identity = self.begin(None)
        self._index.freeze("c", identity, False)
        while fill_page(self._index, identity):
            pass
        self._index.switch("c", identity)
        self._vector, self._read = new_vector, []

    def check(self) -> None:
        assert content(self._index) == expected(self._texts, self._vector)

    def close(self) -> None:
        self._index.close()


@given(steps=st.lists(_STEP, max_size=25))
@example(steps=[("copy", None), ("delete", ["a"])])
@example(steps=[("copy", None), ("upsert", {"a": "second"})])
@example(steps=[("upsert", {"b": ""}), ("copy", None), ("delete", ["a"]), ("upsert", {"a": "x"})])
@example(steps=[("read", None), ("upsert", {"a": "2", "b": ""}), ("fill", None)])
@example(steps=[("read", None), ("delete", ["a"]), ("fill", None)])
@example(steps=[("read", None), ("delete", ["a"]), ("upsert", {"b": "", "a": "x"}), ("fill", None)])
def test_writes_during_the_reembedding_are_kept_after_the_switch(
    steps: list[tuple[str, Any]],
) -> None:
    with TemporaryDirectory() as folder:
        run = _Run(Path(folder))
        for step, what in [*steps, ("switch", None)]:
            getattr(run, step)(what)
            run.check()
        run.close()
