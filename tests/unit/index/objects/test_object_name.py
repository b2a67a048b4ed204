"""Names of objects state what they hold, and are read back exactly."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from embedder.index.objects.object_name import ObjectName, digest_of

HEX = st.text("0123456789abcdef", min_size=32, max_size=32)


@given(HEX, st.integers(0, 2**63 - 1), st.integers(0, 10**14), st.tuples(HEX, HEX))
def test_a_name_is_read_back(
    collection: str, sequence: int, size: int, digest: tuple[str, str]
) -> None:
    name = ObjectName(collection, digest_of(collection), sequence, size, "".join(digest))

    assert ObjectName.parse(str(name)) == name


@given(st.text() | st.from_regex(r"[0-9a-f/.\-snp]{1,140}"))
def test_other_names_are_not_read(text: str) -> None:
    name = ObjectName.parse(text)

    assert name is None or str(name) == text


def test_a_name_has_the_size_and_the_digest_of_its_file(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "x").write_bytes(content)

    name = ObjectName.of(tmp_path / "x", "0" * 32, "1" * 16, 7)

    digest = hashlib.sha256(content).hexdigest()
    assert name == ObjectName("0" * 32, "1" * 16, 7, len(content), digest)
