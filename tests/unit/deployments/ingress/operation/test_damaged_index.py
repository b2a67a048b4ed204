"""A damaged index takes nothing else down: it is named with its remedy, and the rest answers."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from deployments.index.replica import IndexReplica
from deployments.settings.service import ServeSettings
from tests.unit.deployments.ingress.fake_service import ALIAS, FakeService, message, refusal

NAME = "VectorIndex-0"
POINTS = {"points": [{"id": "a", "vector": [1, 0]}, {"id": "b", "vector": [0, 1]}]}


class Kept:
    """A service whose index is kept in a folder, and its client."""

    def __init__(self, folder: Path) -> None:
        self.settings = ServeSettings.model_validate({"data_directory": str(folder)})
        self.file = folder / "index" / NAME / "truth.db"
        self.service = FakeService()
        self.http = self.service.client()
        self.start()

    def start(self) -> None:
        """Start the shard in place of another."""
        self.shard = self.service.handles["index"]._stage = IndexReplica(self.settings, NAME)

    async def fill(self) -> None:
        """Make two collections, and let the shard go."""
        await self.service.model(ALIAS)
        for name in ("docs", "other"):
            (await self.http.post(f"/v1/collections/{name}/points", json=POINTS)).raise_for_status()
        await self.shard._stop()

    async def get(self, path: str) -> httpx.Response:
        """Get a path, and see that no path of the disk is in the answer."""
        response = await self.http.get(path)
        assert str(self.file.parent.parent) not in response.text
        return response


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    """Yield a service with two collections whose shard has stopped."""
    kept = Kept(tmp_path)
    async with kept.http:
        await kept.fill()
        yield kept
    await kept.shard._stop()


async def test_a_file_that_is_damaged_leaves_embeddings_ready_and_names_the_remedy(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    kept.file.write_bytes(b"x" * 8192)
    kept.start()
    ready = await kept.get("/readyz")
    refused = [await kept.get("/v1/collections/docs") for _ in range(3)]
    stats = (await kept.get("/v1/stats")).json()
    logged = [one for one in caplog.records if one.name == "embedder.index.shard"]

    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    assert "'embedder index rebuild'" in ready.json()["stages"][NAME]
    assert (await kept.service.post_texts("a")).status_code == 200
    assert {refusal(one) for one in refused} == {(503, "storage_damaged", None)}
    assert "'embedder index rebuild'" in message(refused[0])
    assert stats["indexes"][0]["status"] == "failed"
    assert "'embedder index rebuild'" in stats["indexes"][0]["problem"]
    assert [one.levelname for one in logged] == ["ERROR"]
    assert str(kept.file) in logged[0].getMessage()
    assert "'embedder index rebuild'" in logged[0].getMessage()


async def test_a_collection_that_is_damaged_leaves_all_others_and_names_itself(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    with sqlite3.connect(kept.file) as db:
        db.execute("DELETE FROM points WHERE pk = 1")
    db.close()
    kept.start()
    ready = await kept.get("/readyz")
    refused = await kept.http.post("/v1/collections/docs/points", json=POINTS)
    remedy = "'embedder index restore BACKUP docs --replace'"

    assert ready.json()["ready"] is True
    assert remedy in ready.json()["stages"][NAME]
    assert refusal(refused) == (503, "storage_damaged", None)
    assert remedy in message(refused)
    assert (await kept.get("/v1/collections/other")).json()["count"] == 2
    (shard,) = (await kept.get("/v1/stats")).json()["indexes"]
    assert (shard["status"], shard["collections"]) == ("degraded", 1)
    assert remedy in shard["problem"]
    logger = "embedder.index.collection.registry"
    assert len([record for record in caplog.records if record.name == logger]) == 1


async def test_a_sound_shard_has_no_problem(kept: Kept) -> None:
    kept.start()
    (shard,) = (await kept.get("/v1/stats")).json()["indexes"]

    assert (await kept.get("/readyz")).json()["stages"][NAME] == "ready"
    assert (shard["status"], shard["problem"]) == ("ready", None)
