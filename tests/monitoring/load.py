"""A short load that reaches each stage of a service, and gets an error now and then."""

from __future__ import annotations

import time

import httpx

TEXTS = 8


def send(url: str, seconds: float) -> int:
    """Send requests one after another for some seconds, and return their number."""
    ends, sent = time.monotonic() + seconds, 0
    with httpx.Client(base_url=url, timeout=60) as client:
        client.put("/v1/collections/watched", json={}).raise_for_status()
        while time.monotonic() < ends:
            new = [f"text {text} of request {sent}" for text in range(TEXTS)]
            client.post("/v1/embeddings", json={"input": new}).raise_for_status()
            client.post("/v1/embeddings", json={"input": "always the same"}).raise_for_status()
            client.post("/embed", json={"inputs": new[0], "truncate": True}).raise_for_status()
            points = [{"id": f"{sent}", "text": new[0]}]
            path = "/v1/collections/watched"
            client.post(f"{path}/points", json={"points": points}).raise_for_status()
            client.post(f"{path}/search", json={"text": new[1], "top_k": 3}).raise_for_status()
            assert client.post("/v1/embeddings", json={"input": []}).status_code == 400
            sent += 6
    return sent
