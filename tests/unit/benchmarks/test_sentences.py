"""Texts are split into distinct sentences."""

from __future__ import annotations

from pathlib import Path

from benchmarks.sentences import docstrings, sentences


def test_each_sentence_of_three_words_is_taken_once_with_single_spaces() -> None:
    texts = ["One  two three. Four five! Six seven\neight?", "nine 3.5 ten; One two three."]

    assert sentences(texts) == ["One two three.", "Six seven eight?", "nine 3.5 ten;"]


def test_the_docstrings_of_packages_are_read_where_they_parse(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('"""Of a module."""\n\ndef one():\n    "Of a function."\n')
    (tmp_path / "b.py").write_text("not Python")
    (tmp_path / "c.py").write_text("def none():\n    return 1\n")

    assert [*docstrings(tmp_path)] == ["Of a module.", "Of a function."]
