"""client/README.md against the running service."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from embedder_client import Client, InvalidRequest
from tests.cluster.service import ROOT, RunningService
from tests.readme import fenced

PAGE = (ROOT / "client" / "README.md").read_text()


def test_the_program_of_the_page_prints_what_it_says(service: RunningService) -> None:
    (block,) = fenced(PAGE, "python")
    program = block.replace("http://127.0.0.1:8000", service.url)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == block.rpartition("# ")[2].strip()


def test_many_texts_are_embedded_in_order_and_a_refused_one_is_named(
    service: RunningService,
) -> None:
    texts = [f"the {row % 50} of them" for row in range(400)]
    with Client(service.url, batch_tokens=300) as client:
        many = client.embed(texts)
        alone = client.embed(texts[7])[0]
        texts[333] = ""
        try:
            client.embed(texts)
        except InvalidRequest as error:
            position = error.position
    assert many.shape == (400, 384)
    assert np.allclose(many[7], alone, atol=1e-2)
    assert np.array_equal(many[:50], many[50:100])
    assert position == 333
