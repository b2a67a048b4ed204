"""Which files of a model directory are read: those that cannot run code when they are loaded.

Looks at names, and at what configuration files ask for. Knows nothing of what the files mean, nor
where they come from.
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
"""The largest files are the indexes of sharded weights, of a few MiB."""

MAX_JSON_DEPTH = 32
"""What is nested deeper exhausts the stack of whoever walks or prints it."""

_CODE = {".py", ".pyc", ".pyo", ".pyd", ".so", ".dll", ".dylib"}
_PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib"}
_OTHER_WEIGHTS = _PICKLES | {".h5", ".msgpack", ".tflite", ".gguf", ".ot", ".npz"}
_NAMED = 8
"""How many ignored files a warning names."""

_IMPLEMENTATIONS = ("attn_implementation", "experts_implementation")


def check_files(directory: Path) -> None:
    """Refuse a directory whose files ask for foreign kernels, or cannot be looked through.

    Code, pickles and weights of other formats are never opened: they are ignored, and a warning
    names them once a process. Links to files are followed.

    Raises:
        UnsafeModel: it holds something that is no file, a link to a folder that would go unchecked,
            or a configuration that asks for kernels from a repository.
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
        _report(directory, tuple(ignored))


@cache
def _report(directory: Path, ignored: tuple[str, ...]) -> None:
    more = "" if len(ignored) <= _NAMED else f" and {len(ignored) - _NAMED} more"
    logger.warning(
        "%s: only safetensors are read; ignored and never opened: %s%s",
        directory,
        ", ".join(ignored[:_NAMED]),
        more,
    )


def _files(directory: Path) -> Iterator[Path]:
    """Yield whatever is no folder, at any depth and in a stable order."""
    root = Path(os.path.realpath(directory))
    for parent, folders, names in os.walk(directory, onerror=_refuse_unread):
        folders.sort()
        for folder in folders:
            # A link within is walked where it leads; one out of here would not be walked at all.
            if not Path(os.path.realpath(os.path.join(parent, folder))).is_relative_to(root):
                raise UnsafeModel(f"{Path(parent, folder)} leads out of the model's directory")
        yield from (Path(parent, name) for name in sorted(names))


def _refuse_unread(error: OSError) -> None:
    raise UnsafeModel(f"{error.filename} cannot be looked into: {error.strerror}") from error


def _check_config(path: Path) -> None:
    for value in _objects(read_json(path)):
        for key in value:
            # transformers takes a repository here, and runs the kernels that it downloads from it.
            if key.endswith(_IMPLEMENTATIONS) and "/" in str(value[key]):
                raise UnsafeModel(f"{path} asks for code of its own: {key!r} is {value[key]!r}")


def _objects(content: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every object within a JSON value, at any depth."""
    waiting = [content]
    while waiting:
        value = waiting.pop()
        waiting += _inside(value)
        if isinstance(value, dict):
            yield value


def read_json(path: Path) -> Any:
    """Return the content of a JSON file of a model.

    Raises:
        UnsupportedModel: it is not there, no file, too large, or not JSON.
    """
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise UnsupportedModel(f"{path} is not a file")
        if (size := path.stat().st_size) > MAX_JSON_BYTES:
            raise UnsupportedModel(f"{path} has {size} bytes; the limit is {MAX_JSON_BYTES}")
        content = json.loads(path.read_bytes())
        if _deeper(content, MAX_JSON_DEPTH):
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
        UnsupportedModel: it cannot be read, or holds something else.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise UnsupportedModel(f"{path} must hold a JSON object")
    return content


def _deeper(content: Any, depth: int) -> bool:
    """Tell whether a value is nested deeper than this; walks by levels, since stacks end."""
    level = [content]
    for _ in range(depth):
        level = [inner for value in level for inner in _inside(value)]
    return bool(level)


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits.

    Raises:
        UnsupportedModel: it is not there, or cannot be read.
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
    """Return the SHA-256 of a weights file.

    The hub's cache names a file by the digest that the hub stated, so a damaged download is
    noticed even where nobody pins one.

    Raises:
        WeightsMismatch: it is neither what is expected nor what the hub stated.
        UnsupportedModel: it cannot be read.
    """
    digest = sha256(path)
    stated = os.path.basename(os.path.realpath(path))
    if expected is None and path.is_symlink() and re.fullmatch("[0-9a-f]{64}", stated):
        expected = stated
    if expected is not None and digest != expected:
        raise WeightsMismatch(str(path), expected, digest)
    return digest
