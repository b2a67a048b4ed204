"""Embeddings over HTTP from the whole graph."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request

import httpx
import numpy as np
import openai

from embedder.core.types import Vectors
from tests.cluster.service import RunningService

DEPLOYMENTS = ["Ingress", "Tokenizer", "Encoder", "EmbeddingCache-0", "VectorIndex-0"]
HELLO_WORLD = [-0.0345, 0.0310, 0.0067, 0.0261, -0.0394]
"""The first components that other projects publish for "hello world"."""


def test_the_first_request_after_ready_is_not_slow(service: RunningService) -> None:
    """Ready means that every stage has answered: nothing is left to load or to connect."""
    assert service.first_request_s < 5  # loading a model takes much longer


def test_every_stage_is_ready_by_name(service: RunningService) -> None:
    stages = json.loads(urllib.request.urlopen(f"{service.url}/readyz").read())["stages"]

    assert stages == dict.fromkeys(DEPLOYMENTS, "ready")


def test_hello_world_is_the_published_vector(service: RunningService) -> None:
    body = {"model": "all-MiniLM-L6-v2", "input": "hello world"}
    answer = httpx.post(f"{service.url}/v1/embeddings", json=body).json()
    vector = np.array(answer["data"][0]["embedding"])

    np.testing.assert_allclose(vector[:5], HELLO_WORLD, atol=1e-3)
    assert abs(np.linalg.norm(vector) - 1) < 1e-5
    assert answer["usage"] == {"prompt_tokens": 4, "total_tokens": 4}


def test_openai_s_own_client_gets_the_same(service: RunningService) -> None:
    """It asks for base64 by default."""
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key="none") as client:
        answer = client.embeddings.create(model="all-MiniLM-L6-v2", input="hello world")
        models = [model.id for model in client.models.list()]
        by_repository = client.models.retrieve("sentence-transformers/all-MiniLM-L6-v2").id

    np.testing.assert_allclose(answer.data[0].embedding[:5], HELLO_WORLD, atol=1e-3)
    assert (models[0], by_repository) == ("all-MiniLM-L6-v2", "all-MiniLM-L6-v2")


async def test_500_at_once_and_2048_in_one_agree(service: RunningService) -> None:
    """More requests than are admitted at once: OpenAI's client retries after ``Retry-After``."""
    texts = [f"Sentence number {number} of a large crowd." for number in range(500)]
    others = [f"Filler {number} " + "word " * (number % 8) for number in range(2048 - 500)]
    async with openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key="none") as client:
        answers = await asyncio.gather(*(_embed(client, [text]) for text in texts))
        # Clear the cache in between, or the second half would only test the cache.
        together = await _embed(client, [text + " " for text in texts] + others)
        alone = np.concatenate(answers)

    assert alone.shape == (500, 384)
    assert (alone * together[:500]).sum(axis=1).min() > 0.9999


def test_the_handle_embeds_and_the_five_deployments_have_their_names(
    service: RunningService,
) -> None:
    script = """
import json, ray
from ray import serve
ray.init(address="auto", namespace="serve", log_to_driver=False, logging_level="ERROR")
vectors = serve.get_app_handle("embedder").embed.remote(["hello world"]).result()
deployments = serve.status().applications["embedder"].deployments
print(json.dumps({"vector": vectors[0, :5].tolist(), "names": sorted(deployments)}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=service.environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])

    np.testing.assert_allclose(answer["vector"], HELLO_WORLD, atol=1e-3)
    assert answer["names"] == [
        "EmbeddingCache-0",
        "Encoder",
        "Ingress",
        "Tokenizer",
        "VectorIndex-0",
    ]


def test_a_long_text_is_split_by_the_tokenizer_and_replaced_as_a_whole(
    service: RunningService,
) -> None:
    text = "The ship left the quay at dawn, bound for the islands. " * 400
    chunking = {"size": 128, "overlap": 16, "boundaries": "sentences"}
    collection = f"{service.url}/v1/collections/long-texts"
    with httpx.Client(timeout=60) as http:
        body = {"input": [text, "a quay"], "chunking": chunking}
        data = http.post(f"{service.url}/v1/embeddings", json=body).json()["data"]
        point = {"id": "ship", "text": text}
        stored = http.post(f"{collection}/points", json={"points": [point], "chunking": chunking})
        query = {"text": "a quay", "per_document": 1, "include": ["text", "metadata"]}
        found = http.post(f"{collection}/search", json=query).json()["results"]
        gone = http.post(f"{collection}/points/delete", json={"documents": ["ship"]}).json()

    ranges = [(one["chunk"]["start"], one["chunk"]["end"]) for one in data[:-1]]
    assert len(ranges) > 30
    assert all(text[start:end].startswith("The ship") for start, end in ranges)
    assert data[-1]["chunk"] == {"input": 1, "number": 0, "start": 0, "end": 6, "tokens": 4}
    assert [(one["start"], one["end"]) for one in stored.json()["chunks"]] == ranges
    place = found[0]["metadata"]["chunk"]
    assert [found[0]["text"]] == [text[place["start"] : place["end"]]]
    assert (len(found), gone["deleted"]) == (1, len(ranges))


async def _embed(client: openai.AsyncOpenAI, texts: list[str]) -> Vectors:
    answer = await client.embeddings.create(model="all-MiniLM-L6-v2", input=texts)
    return np.array([row.embedding for row in answer.data], np.float32)
