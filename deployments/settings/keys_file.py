"""The file of further API keys: a YAML list of entries as they stand under ``keys:``."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from deployments.settings.access import ApiKey, check_keys
from deployments.settings.service import ServeSettings
from embedder.core.errors import ConfigurationError
from embedder.core.private_files import open_without_waiting

MAX_BYTES = 2**20

_KEYS = TypeAdapter(tuple[ApiKey, ...])


def check_keys_file(settings: ServeSettings, *, required: bool = False) -> None:
    """Check that the keys file can be used; one that is not ``required`` may be missing.

    Raises:
        ConfigurationError: it is missing or wrong, or other users may write it.
    """
    if settings.keys_file is not None:
        path = Path(settings.keys_file).expanduser()
        if required or path.exists():
            with_file(settings.keys, read_keys_file(path), path)


def read_keys_file(path: Path) -> bytes:
    """Return the content of a file of keys, which only its owner may write.

    Other users may read it: it holds digests of random keys, from which no key can be computed, and
    secrets are mounted like that.

    Raises:
        ConfigurationError: the file cannot be read, is no regular file, has more than `MAX_BYTES`
            bytes, or other users may write it.
    """
    try:
        with open(path, "rb", opener=open_without_waiting) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise _problem(path, "is no regular file")
            if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise _problem(
                    path,
                    "can be written by other users, who could add keys: run 'chmod go-w' on it",
                )
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _problem(path, f"cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise _problem(path, f"has more than {MAX_BYTES:,} bytes")
    return content


def with_file(configured: tuple[ApiKey, ...], content: bytes, path: Path) -> tuple[ApiKey, ...]:
    """Return the keys of the settings, and those in the content of the file ``path``.

    Raises:
        ConfigurationError: as `parse_keys` and `check_keys`.
    """
    keys = (*configured, *parse_keys(content, path))
    try:
        check_keys(keys)
    except ValueError as error:
        raise _problem(path, f"and keys: together: {error}") from None
    return keys


def parse_keys(content: bytes, path: Path) -> tuple[ApiKey, ...]:
    """Return the keys in the content of the file ``path``.

    An empty list is valid; an empty file is not, because it may be one that is being written.

    Raises:
        ConfigurationError: it is not a YAML list of keys. The message shows no value of the file.
    """
    try:
        entries = yaml.safe_load(content)
    except yaml.MarkedYAMLError as error:  # whose text quotes what may be a key
        line = "" if error.problem_mark is None else f" in line {error.problem_mark.line + 1}"
        raise _problem(path, f"is not YAML{line}") from None
    except yaml.YAMLError:
        raise _problem(path, "is not YAML in UTF-8") from None
    except (ValueError, RecursionError):  # as of the date 2020-99-99
        raise _problem(path, "has a value that is too deep, or not of its kind") from None
    if entries is None:
        raise _problem(path, "is empty: write [] to refuse every request that needs a key")
    if not isinstance(entries, list):
        raise _problem(path, "must be a list, whose entries begin with '- '")
    try:
        return _KEYS.validate_python(entries)
    except ValidationError as error:
        problem = error.errors(include_input=False)[0]
        number, *field = problem["loc"]
        place = ".".join(map(str, [f"entry {int(number) + 1}", *field]))
        message = problem["msg"].removeprefix("Value error, ")
        raise _problem(
            path, f"{place if place.isprintable() else repr(place)}: {message}"
        ) from None


def _problem(path: Path, problem: str) -> ConfigurationError:
    return ConfigurationError(f"keys_file: {path} {problem}")
