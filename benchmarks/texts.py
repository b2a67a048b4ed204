"""The texts that a benchmark embeds: a seeded sample of a file, or made-up sentences.

Made-up sentences draw their number of words from a log-normal distribution with median 17 and
sigma 0.9, cut to 1 to 400: about that of mixed English questions, headlines and abstracts. In
tokens of all-MiniLM-L6-v2, special ones included, 10, 50, 90 and 99 of a hundred have at most 10,
22, 59 and 142, the mean is 30, and three in ten have 16 to 26.
"""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

MEDIAN_WORDS = 17
SIGMA = 0.9
MOST_WORDS = 400

_PROSE = (
    "the of and to in a is that for it as was with be by on not he his but at are this have "
    "from or had an they which one you were all her she there would their we him been has "
    "when who will no more if out so up said what its about than into them can only other "
    "time new some could these two may first then do any like my now over such our man me "
    "even most made after also did many off before must well back through years much where "
    "your way down should because long each just state those people too mr how little good "
    "world make very year still see own work men day get here old life both between being "
    "under three never know same last another while us might great go come since against "
    "right came take used himself few house american use place during high without again home "
    "around small however found mrs thought went say part once general upon school every city "
    "company market water system question government number night point study result method "
    "value search vector model language "
)
WORDS = tuple(dict.fromkeys(_PROSE.split()))
"""Distinct words of one token each."""

_DRAWN = _PROSE.split()


def sample(count: int, *, seed: int, path: Path | None = None) -> list[str]:
    """Return ``count`` distinct texts: of a ``.jsonl[.gz]`` file with a key ``text``, or made up.

    Raises:
        ValueError: the file has fewer.
    """
    random_source = random.Random(seed)
    if path is None:
        return [f"{_sentence(random_source)} {number}" for number in range(count)]
    texts = distinct(path)
    if len(texts) < count:
        raise ValueError(f"{path} has {len(texts)} distinct texts; {count} are needed")
    return random_source.sample(texts, count)


def distinct(path: Path) -> list[str]:
    """Return every text of a ``.jsonl[.gz]`` file once, in an order that only depends on them."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        return sorted({str(json.loads(line)["text"]) for line in lines} - {""})


def _sentence(random_source: random.Random) -> str:
    words = random_source.lognormvariate(0, SIGMA) * MEDIAN_WORDS
    count = max(1, min(MOST_WORDS, round(words)))
    return " ".join(random_source.choices(_DRAWN, k=count)).capitalize() + "."
