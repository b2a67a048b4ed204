"""The cache of the running service from an operator's command line, and in Ray's metrics."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx

from deployments.metrics.catalogue import CATALOGUE
from deployments.metrics.definition import Kind
from embedder.cache.archive import read_archive
from tests.cluster.forked_commands import ForkedCommands
from tests.cluster.service import RunningService

EXPORTED_S = 60.0
"""Ray exports metrics every ten seconds, from each process to its node's agent."""

PORTS = """
import ray
ray.init(address="auto", log_to_driver=False)
print(*[node["MetricsExportPort"] for node in ray.nodes() if node["Alive"]])
"""


def _hits(service: RunningService, text: str) -> str:
    answer = httpx.post(f"{service.url}/v1/embeddings", json={"input": text})
    return answer.raise_for_status().headers["x-cache-hits"]


def _until_held(service: RunningService, entries: int) -> None:
    """Wait until the shard holds so many entries: no request waits for its inserts."""
    deadline = time.monotonic() + EXPORTED_S
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


def test_a_scrape_has_the_metrics_of_the_catalogue_and_no_others(service: RunningService) -> None:
    """Counters that nothing has counted are left out by Ray; these requests count some."""
    for _ in range(2):
        _hits(service, "counted")
    _until_held(service, 1)
    counted = {"embedder_cache_hits", "embedder_cache_misses", "embedder_cache_written"}
    wanted = {row.exported for row in CATALOGUE if row.kind is Kind.GAUGE or row.name in counted}
    done = subprocess.run(
        [sys.executable, "-c", PORTS], env=service.environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    ports = done.stdout.split()
    deadline = time.monotonic() + EXPORTED_S
    found: set[str] = set()
    while not wanted <= found:
        assert time.monotonic() < deadline, wanted - found
        scrape = "".join(httpx.get(f"http://127.0.0.1:{port}/metrics").text for port in ports)
        found = set(re.findall(r"^(\w*embedder_\w+){", scrape, re.MULTILINE))
        time.sleep(1)

    assert found <= {row.exported for row in CATALOGUE}
    assert 'deployment="EmbeddingCache-0"' in scrape
    for queue in ("numeric-small", "search", "tokenizer", "index-write"):
        assert f'queue="{queue}"' in scrape
