"""The vectors of real sentences, for benchmarks that take vectors.

``python -m benchmarks.sentences TEXTS FILE`` splits the texts of a ``.jsonl[.gz]`` file with a key
``text``, or the docstrings of a folder of Python packages, into sentences, embeds distinct ones of
three words or more with the default model, and writes the vectors in NumPy's format, in a seeded
order.
"""

from __future__ import annotations

import argparse
import ast
import random
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.texts import distinct
from embedder import EmbeddingGenerator

LEAST_WORDS = 3
BATCH = 512
_END = re.compile(r"(?<=[.!?;])\s+")


_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def docstrings(folder: Path) -> Iterator[str]:
    """Yield the docstrings of all Python files below a folder; skip files that do not parse."""
    for file in sorted(folder.rglob("*.py")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of invalid escapes in other people's code
            try:
                tree = ast.parse(file.read_bytes())
            except (SyntaxError, ValueError):
                continue
        for node in ast.walk(tree):
            if isinstance(node, _DOCUMENTED) and (found := ast.get_docstring(node)):
                yield found


def sentences(texts: Sequence[str]) -> list[str]:
    """Return each sentence of the texts once, in ascending order, with single spaces in it."""
    words = (part.split() for text in texts for part in _END.split(text))
    return sorted({" ".join(one) for one in words if len(one) >= LEAST_WORDS})


def main(arguments: Sequence[str] | None = None) -> int:
    """Embed the sentences, write the file and return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.sentences", description=__doc__)
    parser.add_argument("texts", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--count", type=int, default=60_050, help="sentences (60,050)")
    options = parser.parse_args(arguments)
    texts: Path = options.texts
    chosen = sentences([*docstrings(texts)] if texts.is_dir() else distinct(texts))
    random.Random(0).shuffle(chosen)
    chosen = chosen[: options.count]
    with EmbeddingGenerator() as generator:
        batches = [chosen[start : start + BATCH] for start in range(0, len(chosen), BATCH)]
        vectors = np.concatenate([generator.embed(batch) for batch in batches])
    np.save(options.file, vectors)
    print(f"{len(vectors):,} sentences, {vectors.shape[1]} components")
    return 0


if __name__ == "__main__":
    sys.exit(main())
