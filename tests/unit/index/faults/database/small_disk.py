"""File systems of a few megabytes for a database, which a test fills and frees."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unit.index.storage.postgres.postgres_server import PostgresServer

MIB = 2**20
DATABASE_MIB = 8
"""An empty database takes this, and each further one as much."""


@dataclass(frozen=True)
class SmallDisk:
    """A mounted file system."""

    folder: Path

    def fill(self) -> None:
        """Leave no free block."""
        with (self.folder / "filler").open("wb", buffering=0) as file:
            for size in (MIB, 4096):
                try:
                    while file.write(bytes(size)) == size:
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        """Give the space back."""
        (self.folder / "filler").unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Mount a disk in a new folder; skip the test where that is not allowed."""
    folder.mkdir()
    options = f"size={megabytes}m,mode=755"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=False)
    if mounted.returncode:
        folder.rmdir()
        pytest.skip("this user may not mount a file system")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
        folder.rmdir()


@contextmanager
def database_on_small_disk(server: PostgresServer) -> Iterator[tuple[SmallDisk, str]]:
    """Yield a disk, and the URL of a database whose tables are on it; its log is elsewhere."""
    with small_disk(server.folder / "small", 3 * DATABASE_MIB) as disk:
        space = disk.folder / "space"
        space.mkdir()
        if server.account is not None:
            shutil.chown(space, server.account)
        server.execute(f"CREATE TABLESPACE small LOCATION '{space}'")
        url = server.create_database("ENCODING 'UTF8' TABLESPACE small")
        try:
            yield disk, url
        finally:
            server.drop_database(url)
            server.execute("DROP TABLESPACE small")
