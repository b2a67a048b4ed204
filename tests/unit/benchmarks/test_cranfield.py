"""The benchmark on real questions judges by the definition of nDCG."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from benchmarks.cranfield import ndcg, read_judgements, read_texts


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (["a", "b", "x"], 1.0),
        (["x", "y"], 0.0),
        ([], 0.0),
        # Gains 1/log2(3) + 1/log2(4) of the best 1 + 1/log2(3).
        (["x", "a", "b"], 0.6934264),
        (["x"] * 10 + ["a", "b"], 0.0),
    ],
)
def test_the_measure_is_the_discounted_gain_beside_the_best(
    found: list[str], expected: float
) -> None:
    assert ndcg(found, {"a": 1.0, "b": 1.0}) == pytest.approx(expected, abs=1e-6)


def test_more_relevant_documents_count_more_and_none_is_no_gain() -> None:
    relevance = {"a": 3.0, "b": 1.0}

    assert ndcg(["a", "b"], relevance) == 1.0
    assert ndcg(["b", "a"], relevance) == pytest.approx((1 + 3 * 0.6309298) / (3 + 0.6309298))
    assert ndcg(["a"], {}) == 0.0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder with a small corpus whose words are letters."""
    folder = tmp_path / "cranfield"
    folder.mkdir()
    texts = ["aaab", "abbb", "cccd", "cddd", "ab", "cd", ""]
    corpus = [json.dumps({"_id": str(at), "text": text}) for at, text in enumerate(texts)]
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress("\n".join(corpus).encode()))
    questions = [json.dumps({"_id": name, "text": name}) for name in ("aaa", "ddd")]
    (folder / "queries.jsonl").write_text("\n".join(questions))
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\naaa\t0\t1\nddd\t3\t1\n")
    return tmp_path


def test_texts_without_words_are_left_out(data: Path) -> None:
    assert list(read_texts(data / "cranfield" / "corpus.jsonl.gz")) == [*"012345"]
    assert read_judgements(data / "cranfield" / "qrels.tsv") == {"aaa": {"0": 1}, "ddd": {"3": 1}}
