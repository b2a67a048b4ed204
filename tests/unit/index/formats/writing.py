"""Write the examples of the present versions: ``python -m tests.unit.index.formats.writing``."""

from __future__ import annotations

import os
import subprocess
import tarfile
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from embedder.index.segments.snapshot_format import FORMAT
from embedder.index.storage.postgres import schema as postgres_schema
from embedder.index.storage.sqlite.schema import SCHEMA_VERSION
from embedder.index.vector_index import VectorIndex
from tests.unit.index.formats.content import KINDS, settings_of, write
from tests.unit.index.storage.postgres.postgres_server import PASSWORD, running_server

FOLDER = Path(__file__).parent
SHARD = "VectorIndex-0"
FILES = f"sqlite-{SCHEMA_VERSION}-snapshots-{FORMAT}.tar.xz"
DATABASE = f"postgres-{postgres_schema.SCHEMA_VERSION}.sql"


def main() -> None:
    """Write a data directory of SQLite files with snapshots, and a dump of a database."""
    with TemporaryDirectory() as folder:
        write_files(Path(folder))
        with tarfile.open(FOLDER / FILES, "w:xz") as archive:
            archive.add(folder, ".", filter=_anonymous)
    url = running_server().create_database()
    write_database(url)
    (FOLDER / DATABASE).write_bytes(_dump(url))


def write_files(data: Path) -> None:
    """Write the data directory of a stopped service of one shard."""
    directory = data / "index" / SHARD
    directory.mkdir(parents=True)
    (data / "index" / "SHARDS").write_text("1\n")
    settings = settings_of(str(directory))
    with closing(VectorIndex(settings, SHARD, background=False)) as index:
        write(index, KINDS)
    # A start reads the points from the rows, and so gives them the kind of their collection.
    with closing(VectorIndex(settings, SHARD, background=False)) as index:
        index.run_maintenance()
    (directory / "LOCK").unlink()


def write_database(url: str) -> None:
    """Write the rows of one shard."""
    with closing(VectorIndex(settings_of(None, url), SHARD, background=False)) as index:
        write(index, {"flat": KINDS["flat"]})


def _dump(url: str) -> bytes:
    options = ["--schema=embedder", "--no-owner", "--no-privileges", "--rows-per-insert=20"]
    program = running_server().programs / "pg_dump"
    ran = subprocess.run(
        [program, *options, f"--dbname={url}"],
        check=True,
        stdout=subprocess.PIPE,
        env=os.environ | {"PGPASSWORD": PASSWORD},
    )
    # Lines for psql alone, of which recent versions write some.
    return b"".join(one for one in ran.stdout.splitlines(True) if not one.startswith(b"\\"))


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    return member


if __name__ == "__main__":
    main()
