"""The cache of the running service from an operator's command line."""

from __future__ import annotations

import json
import time
from pathlib import Path

import httpx

from embedder.cache.archive import read_archive
from tests.cluster.forked_commands import ForkedCommands
from tests.cluster.service import RunningService

HELD_S = 60.0
"""Seconds in which the shard has the inserts of an answer."""


def _hits(service: RunningService, text: str) -> str:
    answer = httpx.post(f"{service.url}/v1/embeddings", json={"input": text})
    return answer.raise_for_status().headers["x-cache-hits"]


def _until_held(service: RunningService, entries: int) -> None:
    """Wait until the shard holds so many entries: no request waits for its inserts."""
    deadline = time.monotonic() + HELD_S
    while time.monotonic() < deadline:
        (shard,) = httpx.get(f"{service.url}/v1/cache").raise_for_status().json()["shards"]
        if shard["entries"] >= entries:
            return
        time.sleep(0.1)
    raise AssertionError(f"fewer than {entries} entries: {shard}")


def test_a_cache_is_warmed_exported_cleared_and_imported(
    service: RunningService, commands: ForkedCommands, tmp_path: Path
) -> None:
    texts = [f"warmed before anybody asks, {number}" for number in range(40)]
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    archive = tmp_path / "archive"

    commands.run("cache", "clear")
    warmed = commands.run("cache", "warm", str(tmp_path / "texts.txt"))
    _until_held(service, len(texts))
    exported = commands.run("cache", "export", str(archive))
    commands.run("cache", "clear")
    computed = _hits(service, texts[0])
    imported = commands.run("cache", "import", str(archive))
    found = [_hits(service, text) for text in texts[1:]]
    stats = json.loads(commands.run("cache", "stats", "--json"))

    manifest = read_archive(archive)
    assert warmed == "40 texts are cached\n"
    assert manifest.count >= 40
    assert "all-MiniLM-L6-v2" in [model.name for model in manifest.models]
    assert exported.startswith(f"{manifest.count:,} entries are in ")
    assert imported == f"{manifest.count:,} entries are imported\n"
    assert computed == "0"
    assert set(found) == {"1"}
    assert stats["EmbeddingCache-0"]["hits"] >= 39
