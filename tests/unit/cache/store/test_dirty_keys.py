"""Flush by flush a store becomes equal to memory, even if flushes fail."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from embedder.cache.store.dirty_keys import DirtyKeys, Flush
from tests.unit.cache.known import OTHER_TAG, TAG, key

KEYS = st.builds(key, st.integers(0, 4), st.sampled_from([TAG, OTHER_TAG]))


class DirtyKeysMachine(RuleBasedStateMachine):
    """Memory and a store as dictionaries; the store has to become equal to memory."""

    def __init__(self) -> None:
        super().__init__()
        self.dirty = DirtyKeys()
        self.memory: dict[bytes, int] = {}
        self.store: dict[bytes, int] = {}
        self.served: dict[str, bytes] | None = None
        self.served_in_store: dict[str, bytes] | None = None
        self.count = 0

    @rule(keys=st.lists(KEYS, max_size=4))
    def put(self, keys: list[bytes]) -> None:
        self.count += 1
        self.dirty.put(keys)
        self.memory.update(dict.fromkeys(keys, self.count))

    @rule(name=KEYS)
    def evict(self, name: bytes) -> None:
        if self.memory.pop(name, None) is not None:
            self.dirty.delete([name])

    @rule(keys=st.lists(KEYS, max_size=4))
    def delete(self, keys: list[bytes]) -> None:
        for name in keys:
            self.memory.pop(name, None)
        self.dirty.delete(keys)

    @rule(tag=st.sampled_from([TAG, OTHER_TAG]))
    def purge(self, tag: bytes) -> None:
        for name in [name for name in self.memory if name.startswith(tag)]:
            del self.memory[name]
            self.dirty.delete([name])
        self.dirty.purge(tag)

    @rule()
    def clear(self) -> None:
        self.memory.clear()
        self.dirty.clear()

    @rule(tag=st.sampled_from([TAG, OTHER_TAG]))
    def serve(self, tag: bytes) -> None:
        self.served = {"name": tag}
        self.dirty.serves(self.served)

    @rule()
    def lose_the_store(self) -> None:
        self.store.clear()
        self.served_in_store = None
        self.dirty.put_all(self.memory)

    @rule(steps=st.integers(0, 6), meanwhile=st.lists(KEYS, max_size=2))
    def turn_that_fails(self, steps: int, meanwhile: list[bytes]) -> None:
        flush = self.dirty.take()
        for _ in range(steps):
            self._step(flush)
        self.put(meanwhile)
        self.dirty.restore(flush)

    @rule(steps=st.integers(0, 6))
    def turn_that_fails_while_all_is_cleared(self, steps: int) -> None:
        flush = self.dirty.take()
        for _ in range(steps):
            self._step(flush)
        self.clear()
        self.dirty.restore(flush)

    @rule(steps=st.integers(0, 6), tag=st.sampled_from([TAG, OTHER_TAG]))
    def turn_that_fails_while_a_model_is_purged(self, steps: int, tag: bytes) -> None:
        flush = self.dirty.take()
        for _ in range(steps):
            self._step(flush)
        self.purge(tag)
        self.dirty.restore(flush)

    @rule()
    def flush(self) -> None:
        flush = self.dirty.take()
        while flush:
            self._step(flush)
        assert self.store == self.memory
        assert self.served_in_store == self.served
        assert not self.dirty

    @invariant()
    def nothing_is_shown_that_memory_knows_better(self) -> None:
        shown = {name: value for name, value in self.store.items() if not self.dirty.hides(name)}
        assert shown.items() <= self.memory.items()

    def _step(self, flush: Flush) -> None:
        """Apply the first change of a flush."""
        if flush.cleared:
            self.store.clear()
            self.served_in_store = None
            flush.cleared = False
        elif flush.models is not None:
            self.served_in_store = dict(flush.models)
            flush.models = None
        elif flush.purged:
            tag = flush.purged.pop(0)
            self.store = {
                name: value for name, value in self.store.items() if not name.startswith(tag)
            }
        elif flush.keys:
            name, put = next(iter(flush.keys.items()))
            if not put:
                self.store.pop(name, None)
            elif name in self.memory:
                self.store[name] = self.memory[name]
            flush.done([name])


TestDirtyKeys = DirtyKeysMachine.TestCase


def test_a_discarded_key_is_neither_put_nor_deleted() -> None:
    dirty = DirtyKeys()
    dirty.put([key(1), key(2)])

    dirty.discard([key(1), key(3)])

    assert dirty.take().keys == {key(2): True}


def test_keys_are_written_in_order_of_their_first_change() -> None:
    dirty = DirtyKeys()
    dirty.put([key(1), key(2)])
    dirty.delete([key(3)])
    failed = dirty.take()
    dirty.put([key(4), key(1)])

    dirty.restore(failed)

    assert list(dirty.take().keys) == [key(1), key(2), key(3), key(4)]
