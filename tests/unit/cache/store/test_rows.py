"""A row is read exactly or not at all, and expires in time."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.cache.store.records import FOREVER, KEY_BYTES, Records
from embedder.cache.store.rows import Unpacked, pack, unpack
from embedder.core.entries.blobs import RAGGED
from embedder.core.entries.entries import Entries
from tests.unit.cache.known import by_key, key, keys, records, row

NOW = 1_700_000_000.0
TIMES = st.floats(0, 4e9)
LIVES = st.one_of(st.just(FOREVER), st.floats(0.001, 1e9))


@given(data=st.data(), width=st.integers(1, 40), now=TIMES)
def test_packed_rows_are_unpacked_exactly(data: st.DataObject, width: int, now: float) -> None:
    bits = data.draw(st.lists(st.integers(0, 2**32 - 1), min_size=width, max_size=width * 5))
    count = len(bits) // width
    vectors = np.array(bits[: count * width], np.uint32).view(np.float32).reshape(count, width)
    counts = data.draw(st.lists(st.integers(0, 2**31 - 1), min_size=count, max_size=count))
    cut = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    given_entries = Entries(vectors, np.array(counts, np.int32), np.array(cut, np.bool_))
    names = keys(range(count))

    packed = pack(Records(names, given_entries, np.full(count, FOREVER)), now)
    unpacked = unpack(names, packed, now)
    (read,) = unpacked.records

    assert (unpacked.corrupt, unpacked.expired) == (0, [])
    assert read.keys == names
    assert read.entries.vectors.tobytes() == vectors.tobytes()
    assert read.entries.token_counts.tolist() == counts
    assert read.entries.truncated.tolist() == cut
    assert read.ttls_s.tolist() == [FOREVER] * count


def test_ragged_rows_are_unpacked_exactly_and_a_flipped_bit_is_noticed() -> None:
    given_records = records(range(10), RAGGED, ttls_s=60.0)
    values = pack(given_records, NOW)
    unpacked = unpack(given_records.keys, values, NOW)

    assert by_key(unpacked.records) == by_key([given_records])
    assert [found.width for found in unpacked.records] == [RAGGED]
    for value, name in zip(values, given_records.keys, strict=True):
        for bit in range(8 * len(value)):
            damaged = bytearray(value)
            damaged[bit // 8] ^= 1 << bit % 8
            assert unpack([name], [bytes(damaged)], NOW).corrupt == 1


def test_rows_of_several_widths_become_records_by_width() -> None:
    narrow, wide = records([1, 2], 3), records([3], 5)
    values = pack(narrow, NOW) + pack(wide, NOW)
    order = [2, 0, 1]

    unpacked = unpack(
        [[*narrow.keys, *wide.keys][at] for at in order], [values[at] for at in order], NOW
    )

    assert sorted(found.width for found in unpacked.records) == [3, 5]
    assert by_key(unpacked.records) == {
        key(1): row(1, 3),
        key(2): row(2, 3),
        key(3): row(3, 5),
    }


def test_every_flipped_bit_of_a_row_or_of_its_key_is_found() -> None:
    (value,) = pack(records([7], 3), NOW)
    whole = key(7) + value

    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        name, damaged = bytes(flipped[:KEY_BYTES]), bytes(flipped[KEY_BYTES:])

        assert unpack([name], [damaged], NOW) == Unpacked([], [], 1)


def test_a_row_that_was_cut_or_has_grown_is_found() -> None:
    (value,) = pack(records([7], 3), NOW)

    damaged = [value[:length] for length in range(len(value))]
    damaged += [value + bytes(length) for length in range(1, 9)]

    unpacked = unpack([key(7)] * len(damaged), damaged, NOW)
    assert unpacked == Unpacked([], [], len(damaged))


def test_a_row_under_the_key_of_another_is_found() -> None:
    values = pack(records([1, 2], 3), NOW)

    assert unpack(keys([2, 1]), values, NOW).corrupt == 2


def test_a_sound_row_beside_a_damaged_one_is_read() -> None:
    values = pack(records([1, 2, 3], 3), NOW)
    values[1] = b"\xff" + values[1][1:]

    unpacked = unpack(keys([1, 2, 3]), values, NOW)

    assert unpacked.corrupt == 1
    assert by_key(unpacked.records) == {key(1): row(1, 3), key(3): row(3, 3)}


@given(life=LIVES, saved=TIMES, read=TIMES)
def test_a_ttl_shrinks_with_time_and_never_grows(life: float, saved: float, read: float) -> None:
    left = life - max(0.0, read - saved)
    packed = pack(records([1], ttls_s=life), saved)

    unpacked = unpack([key(1)], packed, read)

    if left < -0.01:
        assert unpacked == Unpacked([], [key(1)], 0)
    elif left > 0.01:
        (found,) = unpacked.records
        assert found.ttls_s[0] == pytest.approx(left, abs=0.003)
        assert found.ttls_s[0] <= life


def test_no_clock_jump_extends_a_ttl() -> None:
    jumps = random.Random(0)
    given_life, life, now = 3600.0, 3600.0, NOW
    for _ in range(100):
        packed = pack(records([1], ttls_s=life), now)
        passed = jumps.choice([-3.2e8, -3600.0, -1.0, 0.0, 0.5, 1.0, 20.0])
        now += passed

        (found,) = unpack([key(1)], packed, now).records

        assert found.ttls_s[0] <= life + 0.001
        assert found.ttls_s[0] == pytest.approx(life - max(0.0, passed), abs=0.01)
        life = float(found.ttls_s[0])
    assert 0 < life < given_life


def test_live_and_expired_rows_are_separated() -> None:
    given_records = records([1, 2, 3])
    given_records.ttls_s[:] = [10.0, 20.0, 30.0]
    values = pack(given_records, NOW)

    unpacked = unpack(given_records.keys, values, NOW + 20.0)

    assert unpacked.expired == keys([1, 2])
    assert by_key(unpacked.records) == {key(3): row(3)}
    assert unpacked.records[0].ttls_s.tolist() == [10.0]


def test_no_records_pack_to_no_rows() -> None:
    assert pack(records([]), NOW) == []
    assert unpack([], [], NOW) == Unpacked()
