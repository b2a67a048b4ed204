"""A key is compared by its digest, whatever its bytes."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.ingress.middleware.keys import digest, matching_key, new_key, presented_key
from deployments.settings.access import ApiKey

KEYS = [
    ApiKey(name=name, sha256=hashlib.sha256(name.encode()).hexdigest()) for name in ("one", "two")
]


@pytest.mark.parametrize("name", ["one", "two"])
def test_a_key_is_found_by_its_digest(name: str) -> None:
    found = matching_key(name.encode(), KEYS)

    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("key", [None, b"", b"three", b"One", b"one ", b"\xff\x00", b"on\xc3\xa9"])
def test_an_unknown_key_matches_no_configured_key(key: bytes | None) -> None:
    assert matching_key(key, KEYS) is None


@given(st.binary())
def test_a_digest_is_not_accepted_as_a_key(key: bytes) -> None:
    stored = ApiKey(name="any", sha256=digest(key))

    assert matching_key(stored.sha256.encode(), [stored]) is None
    assert (matching_key(key, [stored]) is stored) == bool(key)


def test_every_configured_key_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append(b)
        return a == b

    monkeypatch.setattr("hmac.compare_digest", compare)
    matching_key(b"one", KEYS)

    assert compared == [key.sha256.encode() for key in KEYS]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({b"authorization": b"Bearer abc"}, b"abc"),
        ({b"authorization": b"bearer  abc "}, b"abc"),
        ({b"authorization": b"Bearer \xff\xfe"}, b"\xff\xfe"),
        ({b"x-api-key": b"abc"}, b"abc"),
        ({b"api-key": b"abc"}, b"abc"),
        ({b"x-api-key": b"abc", b"api-key": b"def"}, b"abc"),
        ({b"authorization": b"Basic abc", b"api-key": b"def"}, b"def"),
        ({b"authorization": b"Basic abc", b"x-api-key": b"def"}, b"def"),
        ({b"authorization": b"Bearer abc", b"x-api-key": b"def"}, b"abc"),
        ({b"authorization": b"Bearer "}, None),
        ({b"authorization": b"abc"}, None),
        ({b"x-api-key": b" "}, None),
        ({}, None),
    ],
)
def test_a_key_is_read_from_each_header(
    headers: dict[bytes, bytes], expected: bytes | None
) -> None:
    assert presented_key(headers) == expected


def test_new_keys_are_long_and_unique() -> None:
    keys = {new_key() for _ in range(100)}

    assert len(keys) == 100
    assert min(map(len, keys)) >= 32
