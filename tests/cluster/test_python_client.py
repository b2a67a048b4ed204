"""client/README.md against the running service."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson

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


def test_the_command_embeds_a_file_by_the_service(service: RunningService, tmp_path: Path) -> None:
    source, output = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("hello world\n\nanother text\n")
    command = [str(Path(sys.executable).with_name("embedder")), "embed", "--url", service.url]
    files = ["--input", str(source), "--output", str(output)]
    done = subprocess.run([*command, *files], capture_output=True, text=True, cwd=ROOT)

    assert done.returncode == 3, done.stderr
    rows = [orjson.loads(line) for line in output.read_bytes().splitlines()]
    assert done.stdout == f"2 vectors are in {output}\n"
    assert done.stderr == f"1 rows have none: {output}.failed.jsonl\n"
    assert [row["text"] for row in rows] == ["hello world", "another text"]
    assert len(rows[0]["embedding"]) == 384
