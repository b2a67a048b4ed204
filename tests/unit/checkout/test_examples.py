"""Every example is short, and runs unchanged."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.tiny_models import write_tiny_bert

EXAMPLES = Path(__file__).parents[3] / "examples"
MOST_LINES = 40


Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs an example in a new folder, and returns its output."""

    def run(name: str, *arguments: object) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("MPLBACKEND", "agg")
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_fits_on_a_screen(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MOST_LINES


def test_the_basic_example_finds_the_right_document(run: Run) -> None:
    printed = run("basic.py")
    best = printed.splitlines()[1]

    assert "4 vectors of 384 components, float32" in printed
    assert best.startswith("+0.")
    assert "reset your password" in best


def test_the_batch_example_writes_a_vector_for_every_line(run: Run, tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("".join(f"line {number}\n\n" for number in range(300)))
    printed = run("batch.py", texts, "out.npy")
    vectors = np.load(tmp_path / "out.npy")

    assert "out.npy: 300 × 384" in printed
    assert vectors.shape == (300, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)


def test_the_comparison_prints_a_line_per_model_and_draws_a_plot(run: Run, tmp_path: Path) -> None:
    tiny = write_tiny_bert(tmp_path / "tiny")
    printed = run("compare.py", "all-MiniLM-L6-v2@float32", tiny)
    real, random = [float(line.partition("Spearman ")[2][:6]) for line in printed.splitlines()]

    assert real > 0.9, "the scored pairs agree with a trained model"
    assert random < real
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")
