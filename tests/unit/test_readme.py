"""What README.md shows without a server: its code runs, and its tree is the tree."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.readme import README, blocks, commands

ROOT = README.parent


def test_the_block_for_one_process_prints_what_it_says() -> None:
    (block,) = [block for block in blocks("python") if "EmbeddingGenerator" in block]
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True)
    said = block.rpartition("# ")[2].strip()

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == said


def test_the_first_command_and_its_answer_come_within_25_lines() -> None:
    lines = README.read_text().splitlines()
    served = lines.index("$ make serve")
    curl = next(number for number, line in enumerate(lines) if line.startswith("$ curl"))

    assert served < curl < 25
    assert len(lines) <= 150


def test_every_file_that_the_tree_names_exists() -> None:
    (tree,) = [block for block in blocks("") if "embedder/  " in block]
    folder = Path()
    missing = []
    for line in tree.splitlines():
        first, *others = line.split()
        inside = Path()
        if not line.startswith(" "):
            folder = Path(first)
        elif first.endswith("/"):
            inside = Path(first)
        else:
            others = [first, *others]
        names = [word.rstrip(",") for word in others if re.match(r"\w+(\.py|\.md|/)", word)]
        paths = [folder / inside / name for name in names] or [folder / inside]
        missing += [path for path in paths if not (ROOT / path).exists()]

    assert missing == []


def test_make_knows_every_target_that_is_named() -> None:
    known = (ROOT / "Makefile").read_text()
    named = {command.line.split()[1] for command in commands() if command.line.startswith("make ")}

    assert named
    assert all(f"\n{target}:" in known for target in named)
