"""The benchmark of reranking scores the same pairs by the library and by sentence-transformers."""

from __future__ import annotations

import json

import pytest

from benchmarks import rerank


def test_both_score_the_same_pairs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    monkeypatch.setattr(rerank, "MINILM", {**rerank.MINILM, **tiny, "num_attention_heads": 2})
    monkeypatch.setattr(rerank, "WEIGHT_SCALE", 0.5)

    assert rerank.main(["--count", "8", "--rounds", "1", "--dtype", "float32"]) == 0

    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["kind"] for row in printed["rows"]] == ["equal", "mixed"]
    for row in printed["rows"]:
        assert (len(row["ours"]), len(row["peer"])) == (2, 2)
        assert row["rank_correlation"] == pytest.approx(1.0)


def test_texts_have_the_length_of_their_kind_and_differ_from_turn_to_turn() -> None:
    _, equal = rerank.made_up("equal", 3, seed=1)
    query, mixed = rerank.made_up("mixed", 50, seed=1)

    assert {len(text.split()) for text in equal} == {128}
    assert all(64 <= len(text.split()) <= 192 for text in mixed)
    assert len(query.split()) == rerank.QUERY_WORDS
    assert rerank.made_up("mixed", 50, seed=2)[1] != mixed
