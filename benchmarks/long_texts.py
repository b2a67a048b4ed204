"""What a text far above the model's limit costs, beside a text that just fills the limit.

``python -m benchmarks.long_texts`` prints a table: the default model's tokenizer alone, and the
library from a text to its vector. Both texts are computed in turn; the table has medians, and the
ratio is the median of those of the turns. ``whole`` tokenizes the long text without a window.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.texts import sample
from embedder import EmbeddingGenerator
from embedder.core.request import EmbedOptions
from embedder.core.types import Truncate
from embedder.inference.loading import load_tokenizer
from embedder.models.files import ModelFiles
from embedder.settings.model import ModelSettings

LONG = 100_000
"""Characters of the long text."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="benchmarks.long_texts", description=__doc__)
    parser.add_argument("--texts", type=Path, help="a .jsonl[.gz] file with a key 'text'")
    parser.add_argument("--characters", type=int, default=LONG)
    parser.add_argument("--rounds", type=int, default=41)
    options = parser.parse_args(arguments)
    texts = _texts(options.characters, options.texts)
    print(
        f"{options.characters:,} characters beside a text of the limit, ms, {options.rounds} turns"
    )
    print("truncate  tokenizer: limit   long   whole      library: limit   long  ratio")
    for truncate in (Truncate.END, Truncate.START):
        print(_line(truncate, *texts, rounds=options.rounds))
    return 0


def _texts(characters: int, path: Path | None) -> tuple[str, str]:
    """Return a text of about the model's limit of tokens, and one of ``characters``."""
    files = ModelFiles.open(ModelSettings(offline=True))
    joined = " ".join(sample(characters // 20, seed=0, path=path))
    long = (joined * -(-characters // len(joined)))[:characters]
    (offsets,) = load_tokenizer(files).tokenize_with_offsets([long])
    return long[: offsets[files.max_tokens - 2].stop], long


def _line(truncate: Truncate, short: str, long: str, *, rounds: int) -> str:
    tokenizer = load_tokenizer(ModelFiles.open(ModelSettings(offline=True)))

    def tokenize(text: str) -> None:
        tokenizer.encode([text], truncate=truncate)

    alone = _turns(tokenize, short, long, rounds)
    tokenizer._truncation_windows.supported = False
    whole = _turns(tokenize, short, long, rounds)
    options = EmbedOptions(truncate=truncate, any_length=True)
    with EmbeddingGenerator() as generator:
        library = _turns(lambda text: generator.embed([text], options), short, long, rounds)
    near, far = map(statistics.median, zip(*alone, strict=True))
    (_, far_whole), (near_all, far_all) = (
        map(statistics.median, zip(*turns, strict=True)) for turns in (whole, library)
    )
    ratio = statistics.median(second / first for first, second in library)
    return (
        f"{truncate.value:9}{near:17.2f}{far:7.2f}{far_whole:8.2f}"
        f"{near_all:20.2f}{far_all:7.2f}{ratio:7.2f}"
    )


def _turns(
    work: Callable[[str], object], short: str, long: str, rounds: int
) -> list[tuple[float, float]]:
    """Return the milliseconds of both texts in each turn; numbers keep them out of the cache."""
    found = []
    for number in range(rounds):
        pair = []
        for text in (short, long):
            numbered = f"{number} {text} {number}"
            began = time.perf_counter()
            work(numbered)
            pair.append(1000 * (time.perf_counter() - began))
        found.append((pair[0], pair[1]))
    return found[1:]


if __name__ == "__main__":
    sys.exit(main())
