"""Only listed codes of the operating system mean a full or failing disk."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from embedder.core.storage_errors import StorageFull, StorageReadOnly
from embedder.index.storage.disk.disk_codes import translate_disk_errors


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EIO, StorageReadOnly),
        (errno.EROFS, StorageReadOnly),
        (errno.ENOENT, FileNotFoundError),
        (errno.EMFILE, OSError),
    ],
)
def test_an_error_is_translated_only_if_its_code_is_listed(
    code: int, kind: type[Exception], tmp_path: Path
) -> None:
    with (
        pytest.raises((OSError, StorageFull, StorageReadOnly)) as raised,
        translate_disk_errors(tmp_path),
    ):
        raise OSError(code, "x")

    assert raised.type is kind
