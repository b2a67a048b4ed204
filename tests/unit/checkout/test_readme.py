"""Code in README.md that needs no server runs, and named pages and targets exist."""

from __future__ import annotations

import re

import pytest

from tests.readme import README, blocks, commands, run_block

ROOT = README.parent


def test_every_linked_page_exists() -> None:
    linked = re.findall(r"\]\(([^)#]+)\)", README.read_text())

    assert linked
    assert [page for page in linked if not (ROOT / page).exists()] == []


def test_the_block_for_one_process_prints_its_documented_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (block,) = [block for block in blocks("python") if "EmbeddingGenerator" in block]
    run_block(block)

    assert capsys.readouterr().out.strip() == block.rpartition("# ")[2].strip()


def test_the_first_command_and_its_output_are_within_25_lines() -> None:
    lines = README.read_text().splitlines()
    served = lines.index("$ make serve")
    curl = next(number for number, line in enumerate(lines) if line.startswith("$ curl"))

    assert served < curl < 25
    assert len(lines) <= 150


def test_every_named_target_of_make_exists() -> None:
    known = (ROOT / "Makefile").read_text()
    named = {command.line.split()[1] for command in commands() if command.line.startswith("make ")}

    assert named
    assert all(f"\n{target}:" in known for target in named)
