"""A service whose index is in PostgreSQL, on two logical nodes with data folders of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from embedder.core.types import Vectors
from tests.nodes import service_file
from tests.nodes.logical_service import LogicalService, served
from tests.unit.index.storage.postgres.postgres_server import running_server

SHIPPED = "serve_cluster_postgres.yaml"
WIDTH = 8
COLLECTION = "/v1/collections/points"
TIMEOUT_S = 30.0
BATCH = 2000


@contextmanager
def served_from_database(folder: Path, **vector_index: Any) -> Iterator[LogicalService]:
    """Serve the shipped configuration with an empty database; skip without PostgreSQL."""
    url = running_server().create_database()
    cpu, gpu = service_file.arguments(SHIPPED)["encoder"]["pools"]
    with served(
        folder,
        ("data", "cpu"),
        file=SHIPPED,
        data_directory="auto",
        index={"url": url},
        vector_index={"num_cpus": 0.1, **vector_index},
        ingress={"min_replicas": 2, "max_replicas": 2, "max_replicas_per_node": 1},
        tokenizer={"min_replicas": 1, "max_replicas": 1},
        encoder={"pools": [{**cpu, "min_replicas": 1, "max_replicas": 1}, gpu]},
    ) as running:
        yield running


def vectors(count: int) -> Vectors:
    """Return unit vectors float32[count, `WIDTH`], each its own nearest neighbour."""
    given = np.random.default_rng(7).standard_normal((count, WIDTH))
    units: Vectors = (given / np.linalg.norm(given, axis=1, keepdims=True)).astype(np.float32)
    return units


def post(client: httpx.Client, url: str, path: str, body: dict[str, Any]) -> httpx.Response:
    """Send a request about the collection to one address."""
    return client.post(f"{url}{COLLECTION}{path}", json=body)


def fill(client: httpx.Client, url: str, given: Vectors) -> None:
    """Store a point for each vector, with its number as its id."""
    for at in range(0, len(given), BATCH):
        rows = enumerate(given[at : at + BATCH].tolist(), start=at)
        points = [{"id": str(number), "vector": row} for number, row in rows]
        answer = post(client, url, "/points", {"points": points})
        assert answer.status_code == 200, answer.text
