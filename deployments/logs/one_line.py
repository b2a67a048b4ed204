"""Text for a log: printable characters only, so that no name can begin a line of its own."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping

FRAMES = 30
"""Frames of each exception in a traceback; those nearest to the error are kept."""

MAX_TRACEBACK = 16_000
"""Characters of a traceback; its middle is left out where it is longer."""

MAX_VALUE = 500
"""Characters of one value in a line of fields."""


def escaped(text: str) -> str:
    r"""Return a text on one line: every character that is not printable as ``\n`` or ``\u2028``.

    Bidirectional marks and lone surrogates are not printable either.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


def fields(values: Mapping[str, object]) -> str:
    """Return ``name=value`` pairs (logfmt).

    A text is quoted where it holds a space, a quote or an equals sign, or nothing.
    """
    return " ".join(f"{name}={_value(one)}" for name, one in values.items())


def shortened(text: str) -> str:
    """Return the first `MAX_VALUE` characters of a value, with a mark where it is longer."""
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}…"


def _value(value: object) -> str:
    text = str(value)
    if text and text.isprintable() and not any(one in ' "=\\' for one in text):
        return text
    return escaped(json.dumps(text, ensure_ascii=False))


def traceback_lines(error: BaseException) -> str:
    """Return the traceback of an exception, whose lines are indented by two spaces.

    A line that is not indented begins a record: so collectors, and readers, find the next one.
    """
    text = "".join(traceback.format_exception(error, limit=-FRAMES))
    if len(text) > MAX_TRACEBACK:
        half = MAX_TRACEBACK // 2
        text = f"{text[:half]}\n… {len(text) - 2 * half} characters …\n{text[-half:]}"
    return "\n".join(f"  {escaped(line)}" for line in text.rstrip().split("\n"))
