"""Turn by turn a store becomes what memory is, however many turns come to nothing."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from embedder.cache.store.dirty_keys import DirtyKeys, Flush
from tests.unit.cache.known import OTHER_TAG, TAG, key

KEYS = st.builds(key, st.integers(0, 4), st.sampled_from([TAG, OTHER_TAG]))


class MarksMachine(RuleBasedStateMachine):
    """Memory and a store as plain dictionaries; what is in memory is the truth."""

    def __init__(self) -> None:
        super().__init__()
        self.marks = DirtyKeys()
        self.memory: dict[bytes, int] = {}
        self.store: dict[bytes, int] = {}
        self.served: dict[str, bytes] | None = None
        self.told: dict[str, bytes] | None = None
        self.count = 0

    @rule(keys=st.lists(KEYS, max_size=4))
    def put(self, keys: list[bytes]) -> None:
        self.count += 1
        self.marks.put(keys)
        self.memory.update(dict.fromkeys(keys, self.count))

    @rule(name=KEYS)
    def evict(self, name: bytes) -> None:
        if self.memory.pop(name, None) is not None:
            self.marks.delete_one(name)

    @rule(keys=st.lists(KEYS, max_size=4))
    def delete(self, keys: list[bytes]) -> None:
        for name in keys:
            self.memory.pop(name, None)
        self.marks.delete(keys)

    @rule(tag=st.sampled_from([TAG, OTHER_TAG]))
    def purge(self, tag: bytes) -> None:
        for name in [name for name in self.memory if name.startswith(tag)]:
            del self.memory[name]
            self.marks.delete_one(name)
        self.marks.purge(tag)

    @rule()
    def clear(self) -> None:
        self.memory.clear()
        self.marks.clear()

    @rule(tag=st.sampled_from([TAG, OTHER_TAG]))
    def serve(self, tag: bytes) -> None:
        self.served = {"name": tag}
        self.marks.serves(self.served)

    @rule()
    def lose_the_store(self) -> None:
        self.store.clear()
        self.told = None
        self.marks.put_all(self.memory)

    @rule(steps=st.integers(0, 6), meanwhile=st.lists(KEYS, max_size=2))
    def turn_that_fails(self, steps: int, meanwhile: list[bytes]) -> None:
        turn = self.marks.take()
        for _ in range(steps):
            self._step(turn)
        self.put(meanwhile)
        self.marks.restore(turn)

    @rule(steps=st.integers(0, 6))
    def turn_that_fails_while_all_is_cleared(self, steps: int) -> None:
        turn = self.marks.take()
        for _ in range(steps):
            self._step(turn)
        self.clear()
        self.marks.restore(turn)

    @rule(steps=st.integers(0, 6), tag=st.sampled_from([TAG, OTHER_TAG]))
    def turn_that_fails_while_a_model_is_purged(self, steps: int, tag: bytes) -> None:
        turn = self.marks.take()
        for _ in range(steps):
            self._step(turn)
        self.purge(tag)
        self.marks.restore(turn)

    @rule()
    def turn(self) -> None:
        turn = self.marks.take()
        while turn:
            self._step(turn)
        assert self.store == self.memory
        assert self.told == self.served
        assert not self.marks

    @invariant()
    def nothing_is_shown_that_memory_knows_better(self) -> None:
        shown = {name: value for name, value in self.store.items() if not self.marks.hides(name)}
        assert shown.items() <= self.memory.items()

    def _step(self, turn: Flush) -> None:
        """Do the first thing that a turn has to do."""
        if turn.cleared:
            self.store.clear()
            self.told = None
            turn.cleared = False
        elif turn.models is not None:
            self.told = dict(turn.models)
            turn.models = None
        elif turn.purged:
            tag = turn.purged.pop(0)
            self.store = {
                name: value for name, value in self.store.items() if not name.startswith(tag)
            }
        elif turn.keys:
            name, put = next(iter(turn.keys.items()))
            if not put:
                self.store.pop(name, None)
            elif name in self.memory:
                self.store[name] = self.memory[name]
            turn.done([name])


TestMarks = MarksMachine.TestCase


def test_a_key_that_is_dropped_is_neither_put_nor_deleted() -> None:
    marks = DirtyKeys()
    marks.put([key(1), key(2)])

    marks.discard(key(1))
    marks.discard(key(3))

    assert marks.take().keys == {key(2): True}


def test_keys_are_written_in_the_order_in_which_they_came() -> None:
    marks = DirtyKeys()
    marks.put([key(1), key(2)])
    marks.delete([key(3)])
    failed = marks.take()
    marks.put([key(4), key(1)])

    marks.restore(failed)

    assert list(marks.take().keys) == [key(1), key(2), key(3), key(4)]
