"""Requests of operators reach every replica of a running service."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.cluster.service import RunningService

START_S = 60.0
"""The service is ready with one encoder; the other may still be starting."""


@pytest.fixture
def client(service: RunningService) -> Iterator[httpx.Client]:
    """Yield a client of the running service."""
    with httpx.Client(base_url=service.url, timeout=30) as client:
        yield client


def _embed(client: httpx.Client, *texts: str) -> httpx.Response:
    return client.post("/v1/embeddings", json={"input": texts}).raise_for_status()


def _stats(client: httpx.Client, path: str) -> Any:
    return client.get(path).raise_for_status().json()


def _until_inserted(client: httpx.Client) -> None:
    """Wait for the entries that the ingress inserts into the shared cache in the background."""
    deadline = time.monotonic() + START_S
    while any(shard["pending"] for shard in _stats(client, "/v1/stats")["ingress"]["shards"]):
        assert time.monotonic() < deadline, "entries still wait to be inserted"
        time.sleep(0.1)


def test_every_encoder_reports_its_stats(client: httpx.Client) -> None:
    _embed(client, "asked for by an operator")
    deadline = time.monotonic() + START_S
    while len((stats := _stats(client, "/v1/stats"))["encoders"]) < 2:
        assert time.monotonic() < deadline, "the second encoder has not started"
        time.sleep(0.2)

    replicas = [encoder["replica"] for encoder in stats["encoders"]]
    batches = [
        model["batching"]["batches"]
        for encoder in stats["encoders"]
        for model in encoder["models"]
        if model["state"] == "ready"
    ]
    assert len(set(replicas)) == 2
    assert "local" not in [
        *replicas,
        stats["ingress"]["replica"],
        stats["tokenizers"][0]["replica"],
    ]
    assert len(batches) == 2
    assert sum(batches) > 0
    assert stats["tokenizers"][0]["models"][0]["name"] == "all-MiniLM-L6-v2"
    assert stats["models"][0]["state"] == "ready"
    assert stats["ingress"]["admission"]["admitted"] > 0


def test_cleared_entries_are_gone_from_all_caches(
    client: httpx.Client,
) -> None:
    _embed(client, "to be forgotten")
    _until_inserted(client)
    before = _stats(client, "/v1/cache")
    cleared = client.delete("/v1/cache").raise_for_status().json()["cleared"]
    after = _stats(client, "/v1/cache")
    again = _embed(client, "to be forgotten")

    caches = [*before["local"], *before["shards"]]
    assert all(cache["entries"] > 0 for cache in caches)
    assert cleared == sum(cache["entries"] for cache in caches)
    assert [cache["entries"] for cache in (*after["local"], *after["shards"])] == [0] * len(caches)
    assert again.headers["x-cache-hits"] == "0"


def test_texts_are_compared_and_grouped_by_their_meaning(client: httpx.Client) -> None:
    texts = ["A cat sleeps.", "Share prices fell.", "A kitten naps.", "The stock market sank."]
    compared = client.post("/v1/similarity", json={"a": texts[:1], "b": texts[1:], "top_k": 1})
    grouped = client.post("/v1/cluster", json={"inputs": texts, "k": 2})

    assert compared.json()["results"][0][0]["index"] == 1
    labels = grouped.json()["labels"]
    assert (labels[0], labels[1]) == (labels[2], labels[3])
    assert labels[0] != labels[1]
