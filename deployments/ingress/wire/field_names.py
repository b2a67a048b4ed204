"""Renames the inputs in errors of the pipeline to the fields of the client."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from embedder.core.errors import InvalidInput

_INPUT = re.compile(r"input(?:\[(\d+)\](.*))?")


@contextmanager
def rename_input_errors(
    whole: str,
    name: Callable[[int], str] | None = None,
    options: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[None]:
    """Rename ``input`` in errors of the pipeline to ``whole``, and ``input[i]`` to ``name(i)``.

    If ``name`` is None, ``input[i]`` becomes ``whole[i]``. ``options`` has the client's names of
    options that the pipeline names differently.
    """
    try:
        yield
    except InvalidInput as error:
        match = _INPUT.fullmatch(error.field)
        if match is None and error.field in options:
            raise error.with_field(options[error.field]) from None
        if match is None:
            raise
        number, rest = match.groups()
        if number is None:
            raise error.with_field(whole) from None
        named = name(int(number)) if name else f"{whole}[{number}]"
        raise error.with_field(named + rest) from None
