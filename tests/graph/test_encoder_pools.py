"""A graph with two pools of encoders answers as long as one pool does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployments.encoder import pooled, remote_pool
from deployments.encoder.replica import EncoderReplica
from deployments.rpc.handle_client import Handle
from embedder import EmbedderSettings, EmbeddingGenerator
from embedder.core.errors import ConfigurationError, StageUnavailable
from embedder.core.types import Encoded, Vectors
from tests.graph.running import run_graph
from tests.tiny_models import write_tiny_bert

FIRST, SECOND = "Encoder-first", "Encoder-second"


class TwoPools:
    """A graph of two pools, which counts the calls of each; a test says what they do.

    ``replicas`` are those that the ingress knows of; ``broken`` pools fail every batch.
    """

    def __init__(self, handle: Handle) -> None:
        self.handle = handle
        self.replicas = {FIRST: 1, SECOND: 1}
        self.calls = {FIRST: 0, SECOND: 0}
        self.broken: set[str] = set()
        self.texts = 0

    def embed(self) -> Vectors:
        """Embed a text that no cache has."""
        self.texts += 1
        vectors: Vectors = self.handle.embed.remote(f"text {self.texts}").result()
        return vectors

    def expect(self, model: Path, vectors: Vectors) -> None:
        """Check that these are the vectors of the last text."""
        settings = EmbedderSettings.model_validate({"batching": {"autotune_s": 0}})
        with EmbeddingGenerator(str(model), settings=settings) as generator:
            np.testing.assert_allclose(vectors, generator.embed(f"text {self.texts}"), atol=1e-5)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return the folder of a model."""
    return write_tiny_bert(tmp_path)


@pytest.fixture
def pools(model: Path, monkeypatch: pytest.MonkeyPatch) -> TwoPools:
    """Return a graph that serves the model in two pools."""
    made: list[TwoPools] = []
    names: dict[int, str] = {}
    construct, encode = EncoderReplica.__init__, EncoderReplica.encode

    def constructed(self: EncoderReplica, settings: Any, pool: Any) -> None:
        construct(self, settings, pool)
        names[id(self)] = pool.deployment

    async def encoded(self: EncoderReplica, *args: Any) -> Encoded:
        name = names[id(self)]
        if made:
            made[0].calls[name] += 1
            if name in made[0].broken:
                raise StageUnavailable(name, "broken")
        return await encode(self, *args)

    def running(handle: Handle) -> int | None:
        return made[0].replicas[handle.deployment_name] if made else None

    monkeypatch.setattr(EncoderReplica, "__init__", constructed)
    monkeypatch.setattr(EncoderReplica, "encode", encoded)
    monkeypatch.setattr(remote_pool, "running_replicas", running)
    args = {
        "model": {"name": str(model)},
        "batching": {"autotune_s": 0},
        "encoder": {"pools": [{"name": "first"}, {"name": "second"}]},
        "limits": {"max_wait_s": 60.0},
        "data_directory": None,
    }
    handle = run_graph("pools", args)
    made.append(TwoPools(handle))
    return made[0]


def test_the_vectors_of_two_pools_are_those_of_the_library(model: Path, pools: TwoPools) -> None:
    vectors = pools.embed()

    pools.expect(model, vectors)
    assert sum(pools.calls.values()) > 0


@pytest.mark.parametrize(("lost", "left"), [(FIRST, SECOND), (SECOND, FIRST)])
def test_a_pool_without_replicas_is_skipped_and_used_when_it_is_back(
    model: Path, pools: TwoPools, lost: str, left: str
) -> None:
    pools.embed()
    pools.replicas[lost] = 0
    before = dict(pools.calls)
    vectors = [pools.embed() for _ in range(5)]
    gone = dict(pools.calls)
    pools.expect(model, vectors[-1])
    pools.replicas = {lost: 1, left: 0}
    pools.embed()
    back = dict(pools.calls)

    assert gone[lost] == before[lost]
    assert gone[left] >= before[left] + 5
    assert back[lost] > gone[lost]


@pytest.mark.parametrize("broken", [FIRST, SECOND])
def test_no_request_fails_while_one_pool_fails(model: Path, pools: TwoPools, broken: str) -> None:
    pools.embed()
    pools.broken.add(broken)
    for _ in range(5):
        vectors = pools.embed()
    pools.expect(model, vectors)
    pools.broken = {FIRST, SECOND}

    with pytest.raises(StageUnavailable):
        pools.embed()
    pools.broken = set()
    pools.expect(model, pools.embed())


def test_without_any_replica_a_request_waits_for_one_and_then_is_to_be_sent_again(
    pools: TwoPools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pooled, "START_S", 0.3)
    pools.embed()
    pools.replicas = {FIRST: 0, SECOND: 0}
    with pytest.raises(StageUnavailable):
        pools.embed()
    pools.replicas = {FIRST: 0, SECOND: 1}

    assert pools.embed().shape == (1, 32)


def test_a_model_without_a_pool_is_refused(model: Path) -> None:
    args = {
        "model": {"name": str(model), "pinned": False},
        "encoder": {"pools": [{"name": "first", "models": ["other"]}]},
        "data_directory": None,
    }
    handle = run_graph("none", args)

    with pytest.raises(ConfigurationError, match=r"no pool of encoder\.pools has the model"):
        handle.embed.remote("a").result()
