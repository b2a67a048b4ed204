"""No text makes a second line in a log, and fields can be read back."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.logs.one_line import (
    MAX_TRACEBACK,
    MAX_VALUE,
    escaped,
    fields,
    shortened,
    traceback_lines,
)

TEXTS = st.text(st.characters())  # lone surrogates too


@given(TEXTS)
def test_an_escaped_text_is_printable_and_can_be_written(text: str) -> None:
    line = escaped(text)

    assert line.isprintable()
    assert line.encode().decode() == line
    assert line == text or not text.isprintable()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("größe 東京", "größe 東京"),
        ("a\nERROR b", r"a\nERROR b"),
        ("\r\x1b[2J\x00", r"\r\x1b[2J\x00"),
        ("a\u2028b\u202ec", r"a\u2028b\u202ec"),
        ("\ud800", r"\ud800"),
    ],
)
def test_only_what_is_not_printable_is_escaped(text: str, line: str) -> None:
    assert escaped(text) == line


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (5, "a=5"),
        ("plain", "a=plain"),
        ("two words", 'a="two words"'),
        ("x=1", 'a="x=1"'),
        ('"', 'a="\\""'),
        ("", 'a=""'),
        ("a\nb=c", 'a="a\\nb=c"'),
    ],
)
def test_a_field_is_quoted_where_a_reader_could_not_tell_its_end(value: object, line: str) -> None:
    assert fields({"a": value}) == line


@given(TEXTS, TEXTS)
def test_no_value_can_look_like_another_field(first: str, second: str) -> None:
    line = fields({"a": first, "b": second})
    # shlex reads quotes and backslashes as a reader of logfmt does.
    names = [one.partition("=")[0] for one in shlex.split(line, comments=False, posix=True)]

    assert line.isprintable()
    assert names == ["a", "b"]


def test_a_long_value_is_cut_at_its_limit() -> None:
    assert shortened("a" * MAX_VALUE) == "a" * MAX_VALUE
    assert shortened("a" * (MAX_VALUE + 1)) == "a" * MAX_VALUE + "…"


def _raised(message: str, depth: int = 0) -> ValueError:
    def fail(depth: int) -> None:
        if depth:
            fail(depth - 1)
        raise ValueError(message)

    try:
        fail(depth)
    except ValueError as error:
        return error
    raise AssertionError


def test_every_line_of_a_traceback_is_indented() -> None:
    lines = traceback_lines(_raised("one\nERROR two\r\x1b")).split("\n")

    assert lines[0] == "  Traceback (most recent call last):"
    assert lines[-2:] == ["  ValueError: one", r"  ERROR two\r\x1b"]
    assert all(line.startswith("  ") and line.isprintable() for line in lines)


def test_a_traceback_that_grew_is_cut() -> None:
    error = _raised("deep", depth=500)
    for _ in range(200):
        try:
            raise error
        except ValueError:
            pass

    assert len(traceback_lines(error)) < MAX_TRACEBACK
    assert "deep" in traceback_lines(error)


def test_a_long_message_of_an_error_is_cut_in_its_middle() -> None:
    text = traceback_lines(_raised("a" * 10 * MAX_TRACEBACK + "end"))

    assert len(text) < MAX_TRACEBACK + 1000
    assert text.endswith("aend")
    assert text.startswith("  Traceback")
