"""An index that a stopped service has left, in files or a database, which tests damage and copy."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import yaml

from deployments.data import claim_shards, index_directory
from deployments.settings.service import ServeSettings
from embedder.index import sharding
from embedder.index.contract.points import Points, Spec
from embedder.index.contract.sparse import SparseVector
from embedder.index.vector_index import VectorIndex
from embedder.settings.model import IndexSettings
from tests.unit.deployments.index_service import vectors_of

_DAMAGE = """
UPDATE embedder.points SET text = 'x' WHERE pk = 3 AND collection = (
    SELECT id FROM embedder.collections WHERE name = 'docs' AND shard = %s)
"""


def _owned(shard: int, shards: int) -> list[str]:
    """Return ids of 20 points of a shard."""
    ids = [f"p{number}" for number in range(200)]
    return [ids[row] for row in sharding.rows_by_shard(ids, shards)[shard][:20]]


class StoppedIndex:
    """An index of some shards with collections ``docs`` and ``other``, and a backup of ``docs``.

    Its points are in the database of ``url``, or in files below ``data``.
    """

    def __init__(self, folder: Path, shards: int, url: str | None = None) -> None:
        self.data = folder / "data"
        self.config = folder / "serve_config.yaml"
        self.url = url
        self.shards = shards
        index: dict[str, object] = {"shards": shards} | ({"url": url} if url else {})
        arguments = {"data_directory": str(self.data), "index": index}
        application = {"name": "embedder", "import_path": "deployments.app:build"}
        document = {"applications": [application | {"args": arguments}]}
        self.config.write_text(yaml.safe_dump(document))
        settings = ServeSettings.model_validate(arguments)
        claim_shards(settings)
        directory = index_directory(settings)
        assert directory is not None
        self.folders = [directory / f"VectorIndex-{at}" for at in range(shards)]
        self.backup = folder / "backup"
        self.ids = [_owned(shard, shards) for shard in range(shards)]
        for at, ids in enumerate(self.ids):
            with closing(self.open(at)) as opened:
                for name in ("docs", "other"):
                    vectors = vectors_of(["a" * at for at in range(20)])
                    sparse = [SparseVector.of({at: 1.5}) if at % 2 else None for at in range(20)]
                    points = Points(ids, vectors, ids, [{}] * 20, sparse=sparse)
                    opened.upsert(name, points, Spec(identity=f"of-{name}"))
                opened.back_up("docs", self.backup)
        if shards > 1:
            (self.backup / "SHARDS").write_text(f"{shards}\n")

    @property
    def store(self) -> str:
        """Return how commands name the index: by its URL or its data directory."""
        return self.url or str(self.data)

    def open(self, shard: int) -> VectorIndex:
        """Open a shard as the service does."""
        folder = self.folders[shard]
        settings = IndexSettings.model_validate({"directory": str(folder), "url": self.url})
        return VectorIndex(settings, folder.name, self.shards, background=False)

    def counts(self) -> list[dict[str, int]]:
        """Return how many points each shard has of each collection."""
        counts = []
        for shard in range(self.shards):
            with closing(self.open(shard)) as index:
                counts.append({info.name: info.count for info in index.collections()})
        return counts

    def lose_a_row(self) -> None:
        """Damage collection ``docs`` in the last shard."""
        if self.url is not None:
            import psycopg

            with psycopg.connect(self.url) as database:
                database.execute(_DAMAGE, (f"{self.shards - 1}",))
            return
        with sqlite3.connect(self.folders[-1] / "truth.db") as db:
            db.execute("UPDATE points SET text = 'x' WHERE pk = 3")
        db.close()

    def overwrite_an_index(self) -> None:
        """Damage the page from which SQLite finds points by their ids, in the last shard."""
        path = self.folders[-1] / "truth.db"
        with sqlite3.connect(path) as db:
            find = "SELECT rootpage FROM sqlite_master WHERE name = 'points_by_id'"
            (page,) = db.execute(find).fetchone()
            (size,) = db.execute("PRAGMA page_size").fetchone()
        db.close()
        data = bytearray(path.read_bytes())
        data[(page - 1) * size : page * size] = bytes(size)
        path.write_bytes(data)

    def overwrite_the_schema(self) -> None:
        """Damage the list of tables, in the file of the last shard."""
        path = self.folders[-1] / "truth.db"
        path.write_bytes(path.read_bytes().replace(b"points_by_pk", b"points_by_qk", 1))

    def overwrite_all(self) -> None:
        """Damage the whole file of the last shard."""
        (self.folders[-1] / "truth.db").write_bytes(b"x" * 8192)
