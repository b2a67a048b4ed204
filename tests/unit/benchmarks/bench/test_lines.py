"""A child that answers lines is asked, and its end is told with its last words."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from benchmarks.bench.lines import LineProcess, NotMeasured, last_words

ECHO = """
import json, sys, time
print(json.dumps({"version": "1"}), flush=True)
for line in sys.stdin:
    question = json.loads(line)
    if question == {"end": True}:
        sys.exit("a fault that is told")
    if question == {"hang": True}:
        time.sleep(60)
    print(json.dumps(question), flush=True)
"""


def _child(program: str, log: Path, start_s: float = 30.0) -> LineProcess:
    command = [sys.executable, "-I", "-c", program]
    return LineProcess(command, log=log, environment=os.environ, start_s=start_s)


def test_a_child_says_what_it_is_and_then_answers_each_line(tmp_path: Path) -> None:
    with _child(ECHO, tmp_path / "log") as child:
        assert child.about == {"version": "1"}
        assert child.ask({"a": 1}, timeout_s=10.0) == {"a": 1}
        assert child.ask({"b": ["ü"]}, timeout_s=10.0) == {"b": ["ü"]}


def test_a_child_that_ends_is_told_with_its_last_words(tmp_path: Path) -> None:
    with _child(ECHO, tmp_path / "log") as child:
        with pytest.raises(NotMeasured, match="a fault that is told"):
            child.ask({"end": True}, timeout_s=10.0)
        with pytest.raises(NotMeasured, match="a fault that is told"):
            child.ask({"a": 1}, timeout_s=10.0)


def test_a_child_that_hangs_is_ended(tmp_path: Path) -> None:
    with (
        _child(ECHO, tmp_path / "log") as child,
        pytest.raises(NotMeasured, match=r"no answer in 0 s|without a word"),
    ):
        child.ask({"hang": True}, timeout_s=0.2)


def test_a_child_that_cannot_start_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(NotMeasured, match="no_such_module"):
        _child("import no_such_module", tmp_path / "log")


def test_the_last_words_are_the_last_line_that_says_anything(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("one\n╰─────╯\n\n")

    assert last_words(log) == "one"
    assert last_words(tmp_path / "missing") == "it ended without a word"
