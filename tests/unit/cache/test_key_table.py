"""Keys are found even if many share a bucket or a half word."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from embedder.cache.key_table import WAYS, KeyTable, keys_of, words_of
from embedder.core.errors import InvalidInput
from tests.unit.examples import TIMES

CAPACITY = 64


def key_of(number: int) -> bytes:
    """Return a distinct key for each number, spread like a hash."""
    return bytes(8) + np.random.default_rng(number).bytes(24)


def word_key(*words: int) -> bytes:
    """Return the key of four words: tag, bucket, check, and a rest."""
    return b"".join(word.to_bytes(8, "little") for word in words)


CROWD = [
    word_key(0, bucket, check << 32, last)
    for bucket in (0, 1)
    for check in (0, 1, 9)
    for last in range(8)
]
"""Many more keys than two buckets have cells; a half word of 0 is that of an empty cell."""

POOL = [*CROWD, *(key_of(number) for number in range(40))]
some_keys = st.lists(st.sampled_from(POOL), unique=True, max_size=20)


class TableMachine(RuleBasedStateMachine):
    """A table and a dictionary with the same keys."""

    def __init__(self) -> None:
        super().__init__()
        self.table = KeyTable(CAPACITY)
        self.slots: dict[bytes, int] = {}

    def _free(self) -> list[int]:
        return sorted(set(range(CAPACITY)) - set(self.slots.values()))

    @rule(keys=some_keys)
    def insert(self, keys: list[bytes]) -> None:
        new = [key for key in keys if key not in self.slots]
        slots = self._free()[-len(new) :] if new else []
        new = new[: len(slots)]
        self.table.insert(words_of(new), np.array(slots[: len(new)], np.intp))
        self.slots |= dict(zip(new, slots, strict=True))

    @rule(keys=some_keys)
    def remove(self, keys: list[bytes]) -> None:
        slots = [self.slots.pop(key) for key in keys if key in self.slots]
        self.table.remove(np.array(slots, np.intp))

    @invariant()
    def every_key_is_found(self) -> None:
        asked = [*POOL, *POOL[::-1]]
        assert self.table.find(words_of(asked)).tolist() == [
            self.slots.get(key, -1) for key in asked
        ]


TableMachine.TestCase.settings = settings(
    max_examples=30 * TIMES, stateful_step_count=25, deadline=None
)
TestKeyTable = TableMachine.TestCase


def test_a_batch_finds_present_keys_only() -> None:
    keys = [key_of(number) for number in range(3000)]
    table = KeyTable(2000)
    table.insert(words_of(keys[:2000]), np.arange(2000))

    assert table.find(words_of(keys)).tolist() == [*range(2000), *[-1] * 1000]


def test_a_full_bucket_overflows_into_the_dictionary() -> None:
    keys = [word_key(0, 0, check << 32, 0) for check in range(3 * WAYS)]
    table = KeyTable(len(keys))

    table.insert(words_of(keys), np.arange(len(keys)))

    assert table.find(words_of(keys)).tolist() == list(range(len(keys)))


def test_a_key_of_zeros_is_found_if_its_bucket_is_full() -> None:
    """Whatever the memory of an unused slot holds."""
    keys = [word_key(number, 0, 0, 0) for number in range(3 * WAYS)]
    table = KeyTable(2 * len(keys))
    table.words[:] = 0
    table.insert(words_of(keys[::-1]), np.arange(len(keys)))
    table.remove(table.find(words_of(keys[-WAYS:])))

    assert (table.find(words_of(keys[:-WAYS])) >= 0).all()


def test_no_keys_find_no_slots() -> None:
    assert KeyTable(1).find(words_of([])).tolist() == []
    assert KeyTable(1).find(words_of([bytes(32)])).tolist() == [-1]


def test_keys_become_words_and_keys_again() -> None:
    keys = [key_of(number) for number in range(5)]

    assert keys_of(words_of(keys)) == keys
    assert keys_of(words_of([])) == []


@pytest.mark.parametrize("key", [b"", b"short", bytes(33)])
def test_a_key_of_another_length_is_refused(key: bytes) -> None:
    with pytest.raises(InvalidInput, match="'keys' must have 32 bytes each"):
        words_of([bytes(32), key])
