"""A run that is killed loses and repeats no row; EMBED_ROWS tries so many texts with a model.

The short run has a model of two numbers, in a process that is killed three times.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from deployments.commands.embed.input_rows import InputFile
from deployments.commands.embed.run import RunOptions, run
from embedder.core.types import Vectors

ROWS = int(os.environ.get("EMBED_ROWS", "0"))
CHILD = """
import sys
import time
from pathlib import Path
from tests.unit.deployments.commands.embed.test_killed import embed_file
embed_file(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def embed_file(source: Path, output: Path) -> None:
    """Embed each text as (its length, 1), some rows at a time."""

    def embed(texts: list[str]) -> Vectors:
        return np.array([[len(text), 1] for text in texts], np.float32)

    options = RunOptions(output, {"model": "lengths"}, part_rows=8)
    run(InputFile(source), embed, options, lambda rows, fraction, resumed: None)


def _kill(process: subprocess.Popen[bytes], parts: Path, count: int) -> None:
    """Kill a process once it has so many parts, or has ended."""
    while len(list(parts.glob("*.npz"))) < count and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_killed_run_continues_without_losing_or_repeating_a_row(tmp_path: Path) -> None:
    source, output = tmp_path / "in.txt", tmp_path / "out.npy"
    source.write_text("".join(f"{'x' * (row % 90 + 1)}\n" for row in range(4000)))
    for killed in range(3):
        process = subprocess.Popen([sys.executable, "-c", CHILD, source, output])
        _kill(process, tmp_path / "out.npy.parts", 60 * (killed + 1))
    if not output.exists():
        embed_file(source, output)

    vectors = np.load(output, allow_pickle=False)
    assert vectors[:, 0].tolist() == [row % 90 + 1 for row in range(4000)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "out.npy"]


@pytest.mark.skipif(not ROWS, reason="EMBED_ROWS names the number of texts: make faults")
@pytest.mark.timeout(0)
def test_a_killed_run_of_the_command_gives_the_vectors_of_an_uninterrupted_one(
    tmp_path: Path,
) -> None:
    source = tmp_path / "in.txt"
    words = [f"word{at}" for at in range(14)]
    with source.open("w") as file:
        for row in range(ROWS):
            length = 3 + row % 15
            file.write(f"{row} " + " ".join(words[(row + at) % 14] for at in range(length)) + "\n")
    whole, output = tmp_path / "whole.npy", tmp_path / "out.npy"
    command = [
        str(Path(sys.executable).with_name("embedder")),
        "embed",
        "--input",
        str(source),
        "--output",
    ]
    subprocess.run([*command, str(whole)], check=True)
    for killed in range(3):
        process = subprocess.Popen([*command, str(output)])
        _kill(process, tmp_path / "out.npy.parts", ROWS // 4096 * (killed + 1) // 4)
    subprocess.run([*command, str(output)], check=True)

    expected, found = np.load(whole), np.load(output)
    assert found.shape == expected.shape == (ROWS, 384)
    assert (found * expected).sum(axis=1).min() >= 0.9999
