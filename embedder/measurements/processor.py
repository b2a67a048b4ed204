"""The name and the instruction sets of this machine's processor."""

from __future__ import annotations

import platform
from pathlib import Path

_FIELDS = ("model name", "flags", "CPU part", "Features")
"""The used lines of ``/proc/cpuinfo``: the first two are those of x86, the others those of ARM."""


def processor_description(root: Path = Path("/")) -> str:
    """Return a text that is equal on processors of one kind with the same instruction sets.

    ``root`` is the root of the file system from which Linux's description is read.
    """
    listing = root / "proc/cpuinfo"
    text = listing.read_text() if listing.is_file() else ""
    first = dict(_field(line) for line in text.partition("\n\n")[0].splitlines())
    found = [f"{name}: {first[name]}" for name in _FIELDS if name in first]
    return "\n".join([platform.machine(), *found]) if found else platform.platform()


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip(), value.strip()
