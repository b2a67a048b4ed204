"""The programs of docs/clients.md, each run as it is printed, in the environment of `make clients`.

Every one must print what a plain request gets, and talk to nobody but the service.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from embedder.core.types import Vectors
from tests.cluster.client_programs import (
    ADDRESS,
    PAGE,
    PROGRAMS,
    PYTHON_ROWS,
    SCORING,
    chosen,
    needs_clients,
    printed_by,
)
from tests.cluster.service import ROOT, RunningService
from tests.readme import blocks, fenced

NODE_CLIENT = ROOT / "clients" / "node_modules" / "openai"
TEXTS = ["hello world", "good night"]
SIMILARITIES = "huggingface_hub, similarities"


@pytest.fixture(scope="module")
def expected(service: RunningService) -> Vectors:
    """Return the answer of a plain request for the texts of the page."""
    answer = httpx.post(f"{service.url}/v1/embeddings", json={"input": TEXTS}).json()
    return np.array([row["embedding"] for row in answer["data"]], np.float32)


@needs_clients
@pytest.mark.parametrize(
    "heading", chosen(name for name in PROGRAMS if name not in (*SCORING, SIMILARITIES))
)
def test_a_client_gets_the_vectors(
    service: RunningService, expected: Vectors, heading: str, tmp_path: Path
) -> None:
    vectors = np.array(_printed(service, PROGRAMS[heading], tmp_path), np.float32)

    np.testing.assert_allclose(vectors, expected, atol=1e-6)


@needs_clients
def test_a_client_gets_similarities(
    service: RunningService, expected: Vectors, tmp_path: Path
) -> None:
    similarities = _printed(service, PROGRAMS[SIMILARITIES], tmp_path)

    assert similarities == pytest.approx([float(expected[0] @ expected[1]), 1.0], abs=1e-5)


@needs_clients
def test_coheres_client_raises_its_errors_with_our_messages(
    service: RunningService, tmp_path: Path
) -> None:
    program = f"""
import json
import cohere

client = cohere.ClientV2(api_key="none", base_url="{ADDRESS}")
messages = []
for model, kind in (("nothing", cohere.NotFoundError), (None, cohere.BadRequestError)):
    try:
        client.embed(model=model, texts=["a", ""], input_type="search_query")
    except kind as error:
        messages.append(error.body["message"])
print(json.dumps(messages))
"""
    unknown, empty = _printed(service, program, tmp_path)

    assert "served: all-MiniLM-L6-v2" in unknown
    assert empty == "'texts[1]' must not be empty"


@needs_clients
def test_the_lines_of_the_readme_run(service: RunningService, tmp_path: Path) -> None:
    (lines,) = blocks("py")
    *_, last = [line for line in lines.splitlines() if line]
    program = lines.replace(last, f"print(__import__('json').dumps({last}))")

    (similarity,) = _printed(service, program, tmp_path)
    assert 0 < similarity < 1


def test_curl_gets_the_vectors(service: RunningService, expected: Vectors) -> None:
    (command,) = fenced(PAGE, "bash")
    line = command.replace(ADDRESS, service.url)
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.array(json.loads(done.stdout)), expected, atol=1e-6)


def test_curl_gets_the_vectors_although_it_offers_http2(
    service: RunningService, expected: Vectors
) -> None:
    (command,) = fenced(PAGE, "bash")
    line = command.replace(ADDRESS, service.url).replace("curl -s", "curl -s --http2")
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.array(json.loads(done.stdout)), expected, atol=1e-6)


@pytest.mark.skipif(shutil.which("java") is None, reason="java is not installed")
def test_java_gets_the_vectors(service: RunningService, expected: Vectors, tmp_path: Path) -> None:
    (program,) = fenced(PAGE, "java")
    source = tmp_path / "Embed.java"
    source.write_text(program.replace(ADDRESS, service.url))
    done = subprocess.run(["java", source], capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.array(json.loads(done.stdout)), expected, atol=1e-6)


@pytest.mark.skipif(
    not NODE_CLIENT.exists(), reason="`make clients` brings it where npm is installed"
)
@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_node_gets_the_vectors(service: RunningService, expected: Vectors) -> None:
    (program,) = fenced(PAGE, "js")
    command = ["node", "--input-type=module", "-e", program.replace(ADDRESS, service.url)]
    done = subprocess.run(
        command, cwd=NODE_CLIENT.parents[1], capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.array(json.loads(done.stdout)), expected, atol=1e-6)


def test_ids_of_another_vocabulary_are_refused_only_if_out_of_range(
    service: RunningService, expected: Vectors
) -> None:
    """What langchain-openai sends by default: [15339, 1917] is its "hello world"."""
    with httpx.Client(base_url=service.url) as client:
        foreign = client.post("/v1/embeddings", json={"input": [[15339, 1917]]})
        unknown = client.post("/v1/embeddings", json={"input": [[15339, 100257]]})

    meant = np.array(foreign.json()["data"][0]["embedding"])
    assert float(meant @ expected[0]) < 0.5
    assert unknown.status_code == 400
    assert "'input[0][1]' is 100257" in unknown.json()["error"]["message"]


def test_the_table_has_every_client_that_is_installed() -> None:
    requirements = (ROOT / "clients" / "requirements.txt").read_text()
    installed = set(re.findall(r"^([\w-]+)==", requirements, re.MULTILINE))
    named = set(re.findall(r"^\| ([\w-]+) \|", PAGE, re.MULTILINE)) - {"client", "curl", "Java"}
    packages = {"llama-index": "llama-index-embeddings-openai-like", "haystack": "haystack-ai"}

    assert {packages.get(name, name) for name in named} == installed - {"numpy", "tiktoken"}
    assert len(PROGRAMS) == len(PYTHON_ROWS.findall(PAGE)) + 1, "AsyncOpenAI has one of its own"


def _printed(service: RunningService, program: str, folder: Path) -> list[Any]:
    """Run a program of the page, and return the list that it prints."""
    printed: list[Any] = json.loads(printed_by(program.replace(ADDRESS, service.url), folder))
    return printed
