"""An index in files that a stopped service has left, which tests damage, copy and restore."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from deployments.data import claim_shards, index_directory
from deployments.settings.service import ServeSettings
from embedder.index import sharding
from embedder.index.contract.points import Points, Spec
from embedder.index.vector_index import VectorIndex
from embedder.settings.model import IndexSettings
from tests.unit.deployments.index_service import vectors_of


def _owned(shard: int, shards: int) -> list[str]:
    """Return ids of 20 points of a shard."""
    ids = [f"p{number}" for number in range(200)]
    return [ids[row] for row in sharding.rows_by_shard(ids, shards)[shard][:20]]


class StoppedIndex:
    """An index of some shards in a folder, which a stopped service has left."""

    def __init__(self, folder: Path, shards: int) -> None:
        self.data = folder / "data"
        self.config = folder / "serve_config.yaml"
        self.config.write_text(
            "applications: [{name: embedder, import_path: 'deployments.app:build', "
            f"args: {{data_directory: '{self.data}', index: {{shards: {shards}}}}}}}]"
        )
        settings = ServeSettings.model_validate(
            {"data_directory": str(self.data), "index": {"shards": shards}}
        )
        claim_shards(settings)
        directory = index_directory(settings)
        assert directory is not None
        self.folders = [directory / f"VectorIndex-{at}" for at in range(shards)]
        self.backup = folder / "backup"
        self.ids = [_owned(shard, shards) for shard in range(shards)]
        for folder, ids in zip(self.folders, self.ids, strict=True):
            index = self.open(folder)
            for name in ("docs", "other"):
                vectors = vectors_of(["a" * at for at in range(20)])
                points = Points(ids, vectors, ids, [{}] * 20)
                index.upsert(name, points, Spec(identity=f"of-{name}"))
            index.back_up("docs", self.backup / folder.name if shards > 1 else self.backup)
            index.close()
        if shards > 1:
            (self.backup / "SHARDS").write_text(f"{shards}\n")

    def open(self, folder: Path) -> VectorIndex:
        """Open a shard as the service does."""
        return VectorIndex(IndexSettings(directory=str(folder)), background=False)

    def counts(self) -> list[dict[str, int]]:
        """Return how many points each shard has of each collection."""
        counts = []
        for folder in self.folders:
            index = self.open(folder)
            counts.append({info.name: info.count for info in index.collections()})
            index.close()
        return counts

    def lose_a_row(self) -> None:
        """Damage a collection of the last shard."""
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
