"""Check the files of a model directory before any of them is loaded, and read JSON safely.

No file is opened that could run code. The check looks at file names and configuration values.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from embedder.core.errors import UnsafeModel, UnsupportedModel, WeightsMismatch

logger = logging.getLogger(__name__)

MAX_JSON_BYTES = 16 * 2**20
"""The largest JSON files are indexes of sharded weights, of a few MiB."""

MAX_JSON_DEPTH = 32
"""Deeper nesting could exhaust the stack of code that walks or prints the value."""

_CODE = {".py", ".pyc", ".pyo", ".pyd", ".so", ".dll", ".dylib"}
_PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib"}
_OTHER_WEIGHTS = _PICKLES | {".h5", ".msgpack", ".tflite", ".gguf", ".ot", ".npz"}
_MAX_NAMED = 8
"""Ignored files that a warning names."""

_IMPLEMENTATIONS = ("attn_implementation", "experts_implementation")


def check_files(directory: Path) -> None:
    """Refuse a directory that asks for third-party kernels or cannot be searched completely.

    Code, pickles and weights of other formats are never opened. A warning names them, once for
    each process. Links to files are followed.

    Raises:
        UnsafeModel: the directory holds a special file, a link to a folder outside, or a
            configuration that asks for kernels from a repository.
    """
    ignored = []
    for path in _files(directory):
        if path.suffix.lower() in _CODE | _OTHER_WEIGHTS:
            ignored.append(str(path.relative_to(directory)))
            continue
        if os.path.exists(path) and not os.path.isfile(path):
            raise UnsafeModel(f"{path} is not a file; reading it may never end")
        if path.name.lower().endswith("config.json"):
            _check_config(path)
    if ignored:
        _warn_ignored(directory, tuple(ignored))


@cache
def _warn_ignored(directory: Path, ignored: tuple[str, ...]) -> None:
    more = "" if len(ignored) <= _MAX_NAMED else f" and {len(ignored) - _MAX_NAMED} more"
    logger.warning(
        "%s: only safetensors are read; ignored and never opened: %s%s",
        directory,
        ", ".join(ignored[:_MAX_NAMED]),
        more,
    )


def _files(directory: Path) -> Iterator[Path]:
    """Yield every file and special file, at any depth and in a stable order."""
    root = Path(os.path.realpath(directory))
    for parent, folders, names in os.walk(directory, onerror=_raise_unsafe):
        folders.sort()
        for folder in folders:
            # A folder that is linked from inside is searched at its own path; one outside never is.
            if not Path(os.path.realpath(os.path.join(parent, folder))).is_relative_to(root):
                raise UnsafeModel(f"{Path(parent, folder)} leads out of the model's directory")
        yield from (Path(parent, name) for name in sorted(names))


def _raise_unsafe(error: OSError) -> None:
    raise UnsafeModel(f"{error.filename} cannot be looked into: {error.strerror}") from error


def _check_config(path: Path) -> None:
    for value in _objects(read_json(path)):
        for key in value:
            # transformers accepts a repository here, and runs the kernels downloaded from it.
            if key.endswith(_IMPLEMENTATIONS) and "/" in str(value[key]):
                raise UnsafeModel(f"{path} asks for code of its own: {key!r} is {value[key]!r}")


def _objects(content: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every object inside a JSON value, at any depth."""
    pending = [content]
    while pending:
        value = pending.pop()
        pending += _children(value)
        if isinstance(value, dict):
            yield value


def read_json(path: Path) -> Any:
    """Return the content of a JSON file of a model.

    Raises:
        UnsupportedModel: the file is missing, special, too large, too deeply nested, or not JSON.
    """
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise UnsupportedModel(f"{path} is not a file")
        if (size := path.stat().st_size) > MAX_JSON_BYTES:
            raise UnsupportedModel(f"{path} has {size} bytes; the limit is {MAX_JSON_BYTES}")
        content = json.loads(path.read_bytes())
        if _is_deeper(content, MAX_JSON_DEPTH):
            raise RecursionError
    except FileNotFoundError:
        raise UnsupportedModel(f"{path.parent} has no {path.name}") from None
    except OSError as error:
        raise UnsupportedModel(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UnsupportedModel(f"{path} is not valid JSON: {error}") from error
    except RecursionError:
        raise UnsupportedModel(f"{path} has more than {MAX_JSON_DEPTH} levels") from None
    return content


def read_object(path: Path) -> Mapping[str, Any]:
    """Return the content of a JSON file that holds one object.

    Raises:
        UnsupportedModel: the file cannot be read, or holds another value.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise UnsupportedModel(f"{path} must hold a JSON object")
    return content


def _is_deeper(content: Any, depth: int) -> bool:
    """Return whether a value has more levels than ``depth``; the search is not recursive."""
    level = [content]
    for _ in range(depth):
        level = [inner for value in level for inner in _children(value)]
    return bool(level)


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits.

    Raises:
        UnsupportedModel: the file is missing or cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
    except OSError as error:
        raise UnsupportedModel(f"{path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def verified_digest(path: Path, expected: str | None) -> str:
    """Return the SHA-256 of a weight file.

    The hub's cache names a file by the digest that the hub stated, so a damaged download is
    detected even if ``expected`` is None.

    Raises:
        WeightsMismatch: the digest is not ``expected``, or not the one that the hub stated.
        UnsupportedModel: the file cannot be read.
    """
    digest = sha256(path)
    stated = os.path.basename(os.path.realpath(path))
    if expected is None and path.is_symlink() and re.fullmatch("[0-9a-f]{64}", stated):
        expected = stated
    if expected is not None and digest != expected:
        raise WeightsMismatch(str(path), expected, digest)
    return digest


def read_optional(path: Path) -> Mapping[str, Any]:
    """Return the object in a JSON file, or an empty one if the file does not exist.

    Raises:
        UnsupportedModel: the file exists and cannot be read, or does not hold an object.
    """
    return read_object(path) if os.path.lexists(path) else {}


def require_supported(path: Path, config: Mapping[str, Any], supported: Mapping[str, Any]) -> None:
    """Refuse options with another value than the supported one; an empty value asks for nothing.

    Raises:
        UnsupportedModel: an option has another value.
    """
    for key, value in supported.items():
        if config.get(key) and config[key] != value:
            raise UnsupportedModel(
                f"{path} asks for {key!r} = {config[key]!r}; only {value!r} is computed"
            )


def required_int(config: Mapping[str, Any], key: str) -> int:
    """Return an integer of a ``config.json``.

    Raises:
        UnsupportedModel: the key is missing, or its value is not an integer.
    """
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise UnsupportedModel(f"config.json has {key!r} = {value!r}; it must be a whole number")
    return value
