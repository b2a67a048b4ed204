"""The code blocks of README.md, and its commands with their output."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"

_FLAGS = re.MULTILINE | re.DOTALL
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", _FLAGS)
_NUMBER = re.compile(r"-?\d+\.\d+")


@dataclass(frozen=True, slots=True)
class Command:
    """A command, and its documented output."""

    line: str
    answer: str


def runnable(text: str) -> list[Command]:
    """Return every command of the console blocks of a page that a test can run, with its output.

    The comment ``<!-- not run: REASON -->`` before a block excludes it.
    """
    kept = re.sub(r"^<!-- not run: [^\n]+ -->\n```console\n.*?^```$", "", text, flags=_FLAGS)
    return _commands(fenced(kept, "console"))


def fenced(text: str, language: str) -> list[str]:
    """Return the contents of all fenced blocks of a language in a page."""
    return [body for name, body in _BLOCK.findall(text) if name == language]


def blocks(language: str) -> list[str]:
    """Return the contents of all fenced blocks of a language in README.md."""
    return fenced(README.read_text(), language)


def run_block(block: str) -> None:
    """Run a block of Python as a main program in this process."""
    exec(block, {"__name__": "__main__"})


def commands() -> list[Command]:
    """Return every ``$ command`` of the console blocks with its output."""
    return _commands(blocks("console"))


def _commands(blocks: Iterable[str]) -> list[Command]:
    found = []
    for block in blocks:
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, answer = part.partition("\n")
            found.append(Command(line, answer.strip()))
    return found


def shape(text: str) -> str:
    """Return a text with every decimal number replaced by ``#``."""
    return _NUMBER.sub("#", text.strip())


def decimals(text: str) -> list[float]:
    """Return the decimal numbers of a text, in order."""
    return [float(number) for number in _NUMBER.findall(text)]
